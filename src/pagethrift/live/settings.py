"""Capabilities and parameters of one QEMU, set for a migration and restored afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pagethrift.errors import QmpError
from pagethrift.live import kept
from pagethrift.live.qmp import QmpMonitor
from pagethrift.live.switchover import DEFAULTS, is_ours

OURS_SWITCHED_ON = ("events", "return-path", "switchover-ack")
"""capabilities that are off unless somebody switched them on, as every migration here does"""


class BorrowedSettings:
    """Remembers the operator's setting of every name that is changed.

    What a killed pagethrift left behind counts as changed: `restore` puts the operator's values back.
    """

    def __init__(
        self, monitor: QmpMonitor, capabilities: dict[str, bool], parameters: dict[str, Any]
    ) -> None:
        self.capabilities = capabilities
        """as the operator left them"""
        self.parameters = parameters
        """as the operator left them"""
        self.found = ""
        """what an earlier, killed pagethrift had left, as a line; empty: nothing"""
        self._monitor = monitor
        self._changed_capabilities: set[str] = set()
        self._changed_parameters: set[str] = set()

    @classmethod
    async def of(cls, monitor: QmpMonitor) -> BorrowedSettings:
        """Read the present settings, and what a killed pagethrift left of the operator's. Raises QmpError."""
        settings = cls(monitor, await monitor.capabilities(), await monitor.parameters())
        settings._take_back()
        return settings

    async def replace_found(self) -> None:
        """Put the operator's values in the place of what a killed pagethrift left. Raises QmpError.

        Until then QEMU has others than ``capabilities`` and ``parameters`` say.
        """
        if self.found:
            await self._monitor.set_parameters(self._operators_parameters())
            await self._monitor.set_capabilities(self._operators_capabilities())

    async def switch(self, **states: bool) -> None:
        """Set capabilities; underscores stand for dashes. Raises QmpError, also for an unknown name."""
        wanted = {name.replace("_", "-"): state for name, state in states.items()}
        for name in wanted:
            if name not in self.capabilities:
                raise QmpError(
                    f"{self._monitor.role} {self._monitor.path}: QEMU {self._monitor.version_text}"
                    f" has no migration capability {name}"
                )
        self._changed_capabilities |= wanted.keys()
        self._keep()
        await self._monitor.set_capabilities(wanted)

    async def set(self, values: Mapping[str, Any]) -> None:
        """Set parameters by QEMU's names, also while the migration runs. Raises QmpError."""
        if not values.keys() <= self._changed_parameters:
            self._changed_parameters |= values.keys()
            self._keep()
        await self._monitor.set_parameters(values)

    async def restore(self) -> str:
        """Restore everything, once; return an empty string, or a line that says why it failed."""
        try:
            if self._changed_parameters or self._changed_capabilities:
                await self._monitor.query_status()  # a QEMU that hangs is asked only once
            if self._changed_parameters:
                await self._monitor.set_parameters(self._operators_parameters())
            if self._changed_capabilities:
                await self._monitor.set_capabilities(self._operators_capabilities())
            self._changed_parameters.clear()
            self._changed_capabilities.clear()
            kept.forget(self._monitor.process)
        except QmpError as error:
            if self._monitor.process_ended:  # nothing is left to be restored
                kept.forget(self._monitor.process)
                return ""
            return f"settings not restored: {error}; run pagethrift restore --qmp {self._monitor.path}"
        return ""

    def changed(self) -> dict[str, Any]:
        """Return the operator's values of everything that `restore` would put back."""
        parameters = {name: self.parameters.get(name) for name in sorted(self._changed_parameters)}
        return parameters | {name: self.capabilities[name] for name in sorted(self._changed_capabilities)}

    def _keep(self) -> None:
        kept.keep(self._monitor.process, self._operators_parameters(), self._operators_capabilities())

    def _operators_parameters(self) -> dict[str, Any]:
        return {name: self.parameters[name] for name in self._changed_parameters & self.parameters.keys()}

    def _operators_capabilities(self) -> dict[str, bool]:
        return {name: self.capabilities[name] for name in self._changed_capabilities}

    def _take_back(self) -> None:
        """Find out whether the present values are the operator's."""
        where = f"{self._monitor.role} {self._monitor.path}"
        left = kept.kept(self._monitor.process)
        if left is not None:
            parameters = {name: value for name, value in left[0].items() if name in self.parameters}
            capabilities = {name: state for name, state in left[1].items() if name in self.capabilities}
            self.found = f"{where}: a killed pagethrift left settings behind; the operator's were kept"
        elif is_ours(self.parameters):
            parameters = {name: value for name, value in DEFAULTS.items() if name in self.parameters}
            capabilities = {name: False for name in OURS_SWITCHED_ON if self.capabilities.get(name)}
            self.found = (
                f"{where}: downtime-limit {self.parameters['downtime-limit']} ms is what a killed pagethrift"
                " leaves behind; QEMU's defaults replace what it set"
            )
        else:
            return
        self.parameters |= parameters
        self.capabilities |= capabilities
        self._changed_parameters |= parameters.keys()
        self._changed_capabilities |= capabilities.keys()

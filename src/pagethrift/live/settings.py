"""Capabilities and parameters of one QEMU, set for a migration and restored afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pagethrift.errors import QmpError
from pagethrift.live.qmp import QmpMonitor


class BorrowedSettings:
    """Remembers the operator's setting of every name that is changed."""

    def __init__(
        self, monitor: QmpMonitor, capabilities: dict[str, bool], parameters: dict[str, Any]
    ) -> None:
        self.capabilities = capabilities
        """as the operator left them"""
        self.parameters = parameters
        """as the operator left them"""
        self._monitor = monitor
        self._changed_capabilities: set[str] = set()
        self._changed_parameters: set[str] = set()

    @classmethod
    async def of(cls, monitor: QmpMonitor) -> BorrowedSettings:
        """Read the present settings. Raises QmpError."""
        return cls(monitor, await monitor.capabilities(), await monitor.parameters())

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
        await self._monitor.set_capabilities(wanted)

    async def set(self, values: Mapping[str, Any]) -> None:
        """Set parameters by QEMU's names, also while the migration runs. Raises QmpError."""
        self._changed_parameters |= values.keys()
        await self._monitor.set_parameters(values)

    async def restore(self) -> str:
        """Restore everything, once; return an empty string, or a line that says why it failed."""
        try:
            if self._changed_parameters:
                names = self._changed_parameters & self.parameters.keys()
                await self._monitor.set_parameters({name: self.parameters[name] for name in names})
            if self._changed_capabilities:
                states = {name: self.capabilities[name] for name in self._changed_capabilities}
                await self._monitor.set_capabilities(states)
            self._changed_parameters.clear()
            self._changed_capabilities.clear()
        except QmpError as error:
            return f"settings not restored: {error}"
        return ""

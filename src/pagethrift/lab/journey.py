"""The ``pagethrift migrate`` process of a lab run: following it, and changing the link meanwhile."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pagethrift.errors import LabError
from pagethrift.lab.guest.machine import Machine
from pagethrift.lab.hosts.lines import LineReader
from pagethrift.lab.hosts.processes import Process
from pagethrift.lab.hosts.usage import Usage
from pagethrift.lab.link.route import Route
from pagethrift.lab.scenario import ModeSpec, Scenario
from pagethrift.model.run_result import LinkChange

START_S = 200.0
"""wait for the first progress line: compiling the relay's kernels without a cache takes tens of seconds"""
SLACK_S = 120.0
"""added to ``force_after_s``: how long a forced switchover of all RAM may take"""
_CLEAN_UP_S = 30.0

SetLink = Callable[[int | None], None]


def migrate_command(
    scenario: Scenario,
    mode: ModeSpec,
    source: Machine,
    destination: Machine,
    route: Route,
    out: Path,
    certificates: Path | None = None,
) -> list[str]:
    """Return the command that migrates ``source`` to ``destination`` and writes its record to ``out``.

    ``certificates``: the folder of a relay that encrypts.
    """
    command = [
        sys.executable, "-m", "pagethrift", "migrate", "--json", "--out", str(out),
        "--qmp", str(source.qmp_path), "--destination-qmp", str(destination.qmp_path),
        "--relay-folder", str(out.parent),
        "--to", f"unix:{relay_socket(out.parent)}" if mode.alone else route.to, "--incoming", route.incoming,
        "--downtime-limit", f"{scenario.downtime_limit_s:.9f}s",
        "--force-after", f"{scenario.force_after_s:.9f}s",
        "--timeout", f"{scenario.force_after_s + SLACK_S:.9f}s",
        *mode.arguments,
    ]  # fmt: skip
    if certificates is not None:
        command += ["--tls-dir", str(certificates)]
    if scenario.link.bandwidth_bps:
        command += ["--bandwidth", f"{scenario.link.bandwidth_bps}B"]
    return command


def relay_socket(folder: Path) -> Path:
    """Return where a relay that nobody drives listens."""
    return folder / "alone.sock"


def relay_command(scenario: Scenario, route: Route, folder: Path) -> list[str]:
    """Return the command of a relay that nobody drives."""
    command = [
        sys.executable, "-m", "pagethrift", "relay", "--compress", "off",
        "--listen", f"unix:{relay_socket(folder)}", "--connect", route.to,
        "--downtime-limit", f"{scenario.downtime_limit_s:.9f}s",
    ]  # fmt: skip
    if scenario.link.bandwidth_bps:
        command += ["--bandwidth", f"{scenario.link.bandwidth_bps}B"]
    return command


class Journey:
    """A running migration."""

    def __init__(
        self,
        process: Process,
        changes: tuple[LinkChange, ...],
        set_link: SetLink,
        usage: Usage,
        show: Callable[[Mapping[str, Any]], None],
    ) -> None:
        """Follow ``process``, started with its stdout a pipe; ``show`` gets its progress lines.

        ``set_link`` is called with the new rate at each of ``changes``; ``usage`` counts from the
        first sign of the migration to its record.
        """
        assert process.popen.stdout is not None
        self._process = process
        self._lines = LineReader(process.popen.stdout)
        self._changes = list(changes)
        self._set_link = set_link
        self._usage = usage
        self._show = show
        self._began_s: float | None = None

    def follow(self, timeout_s: float) -> None:
        """Return when the migration has succeeded. Raises LabError when it failed or after ``timeout_s``."""
        deadline_s = time.monotonic() + timeout_s
        while not self._lines.ended:
            line = self._lines.next(min(deadline_s, self._next_change_s()) - time.monotonic())
            if line is not None:
                self._take(line)
            if time.monotonic() >= self._next_change_s():
                self._set_link(self._changes.pop(0).bandwidth_bps)
            if time.monotonic() >= deadline_s:
                raise LabError(
                    f"the migration did not end within {timeout_s:.0f} s: {self._process.last_words()}"
                )
        if self._process.wait(_CLEAN_UP_S) != 0:
            raise LabError(f"the migration failed: {self._process.last_words().removeprefix('pagethrift: ')}")

    def _next_change_s(self) -> float:
        if self._began_s is None or not self._changes:
            return float("inf")
        return self._began_s + self._changes[0].after_s

    def _take(self, line: bytes) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            return
        if said.get("type") == "progress":
            if self._began_s is None:
                self._began_s = time.monotonic() - said["elapsed_s"]
                self._usage.begin()
            self._show(said)
        elif said.get("type") == "result":
            self._usage.end()

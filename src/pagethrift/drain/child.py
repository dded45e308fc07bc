"""One guest's migration as a process of its own, started here or by an evacuation that was killed since."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pagethrift.errors import PagethriftError
from pagethrift.evacuation.plan import Guest
from pagethrift.given_file import read_bytes
from pagethrift.live.host import started_at

LAST_BYTES = 4000
"""of a log, in which the last line is looked for"""
UNKNOWN_CODE = -1
"""exit code of a process whose parent was another one"""


def command(
    guest: Guest, options: Sequence[str], id: str, result: Path, cap_bps: float | None = None
) -> list[str]:
    """Return the command that migrates a guest; ``cap_bps``: it is to be held near its end under this cap."""
    own = [f"--downtime-limit={guest.downtime_limit_s:.6f}s", f"--id={id}", f"--out={result}"]
    if guest.force_after_s is not None:
        own.append(f"--force-after={guest.force_after_s:.6f}s")
    if guest.by_libvirt:
        call = ["libvirt", "migrate", guest.domain, guest.desturi, f"--connect={guest.connect}"]
        call += [f"--to={guest.to}"] if guest.to else []
    else:
        call = ["migrate", f"--qmp={guest.qmp}", f"--to={guest.to}"]
        call += [f"--destination-qmp={guest.destination_qmp}"] if guest.destination_qmp else []
        call += [f"--incoming={guest.incoming}"] if guest.incoming else []
        if cap_bps is not None:
            cap = "--max-bandwidth" if "--plain" in options else "--cap"
            call += ["--wait-for-go", f"{cap}={cap_bps:.0f}B/s"]
    return [sys.executable, "-m", "pagethrift", *call, *own, *options]


class Child:
    """A migration's process; it is not ended when this one ends."""

    def __init__(self, pid: int, started: str, log: Path, process: subprocess.Popen[bytes] | None) -> None:
        """Use `start` or `adopted`."""
        self.pid = pid
        self.started = started
        self.told_to_end = False
        self._log = log
        self._process = process

    @classmethod
    def start(cls, arguments: Sequence[str], log: Path) -> Child:
        """Start it, out of reach of this terminal's Ctrl-C. Raises OSError."""
        with log.open("wb") as errors:
            process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                start_new_session=True,
            )  # fmt: skip
        return cls(process.pid, started_at(process.pid), log, process)

    @classmethod
    def adopted(cls, pid: int, started: str, log: Path) -> Child:
        """Return one that another evacuation has started."""
        return cls(pid, started, log, None)

    def ended(self) -> int | None:
        """Return its exit code, UNKNOWN_CODE for an adopted one; None: it runs."""
        if self._process is not None:
            return self._process.poll()
        return None if self.started and started_at(self.pid) == self.started else UNKNOWN_CODE

    def tell_to_end(self) -> None:
        """Have it break its migration off, once; the guest then runs on at the source."""
        if not self.told_to_end and self.ended() is None:
            self.told_to_end = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)  # in the background SIGINT may be ignored

    def last_line(self) -> str:
        """Return the last thing that it said on standard error, without the program's name."""
        try:
            text = read_bytes(self._log)[-LAST_BYTES:].decode(errors="replace")
        except PagethriftError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1].removeprefix("pagethrift: ") if lines else ""

"""Starting the lab's processes, in network namespaces or not, and ending every one of them.

There is no ``preexec_fn``, and so no Python between fork and exec: ``setpriv`` asks for the death signal
and ``nsenter`` changes the namespace. Both use exec, so the pid stays the pid of the program itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO

import psutil

from pagethrift.errors import LabError

_LOG_TAIL_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Process:
    """A running program of the lab; end it through its ProcessGroup."""

    name: str
    pid: int
    log_path: Path
    """log of its stdout (unless redirected) and stderr"""
    popen: subprocess.Popen[bytes] = field(repr=False, compare=False)

    @property
    def running(self) -> bool:
        """True until the process has ended."""
        return self.popen.poll() is None

    def wait(self, timeout_s: float | None = None) -> int:
        """Return the exit code (negative: the signal) once the process has ended.

        Raises LabError when it still runs after ``timeout_s``.
        """
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            still = f"{self.name} (pid {self.pid}) still runs after {timeout_s} s"
            raise LabError(f"{still}: {self.last_words()}") from None

    def require_running(self) -> None:
        """Raise LabError with the end of the log if the process has ended."""
        code = self.popen.poll()
        if code is not None:
            raise LabError(f"{self.name} ended with code {code}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last two lines of the log that are not blank, as one line."""
        try:
            lines = self.log_path.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").split("\n")
        except OSError:
            lines = []
        # Two, because QEMU and many other programs print advice after the reason.
        return "; ".join([line.strip() for line in lines if line.strip()][-2:]) or "it printed nothing"

    def cpu_s(self) -> float:
        """Return user plus system CPU seconds used so far, 0 once the process has ended."""
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)


class ProcessGroup:
    """Owns processes: leaving the ``with`` block ends and reaps all of them, newest first.

    Children also die with this process (PR_SET_PDEATHSIG). They do not get the terminal's Ctrl-C, so that
    the owner ends them in order.
    """

    def __init__(self, folder: Path) -> None:
        """Keep the logs in ``folder``, created if it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._processes: list[Process] = []

    def __enter__(self) -> ProcessGroup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        name: str,
        namespace: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[bytes] | None = None,
        stdout: int | IO[bytes] | None = None,
    ) -> Process:
        """Start ``command`` in the network namespace (None: this process's own) and return it at once.

        ``env`` is added to this process's environment; ``name`` names the log file. ``stdin`` is
        empty and ``stdout`` goes to the log unless given as for subprocess.Popen.
        Raises LabError when a program is missing; a failing program shows as an ended process.
        """
        log_path = self._folder / f"{name}.log"
        full = command_line(command, namespace=namespace)
        with log_path.open("ab") as log:
            popen = (
                _spawner()
                .submit(
                    _spawn,
                    full,
                    {**os.environ, **(env or {})},
                    subprocess.DEVNULL if stdin is None else stdin,
                    log if stdout is None else stdout,
                    log,
                )
                .result()
            )
        process = Process(name, popen.pid, log_path, popen)
        self._processes.append(process)
        return process

    def stop(self, process: Process, *, grace_s: float = 3.0) -> int:
        """End one process with TERM, and after ``grace_s`` with KILL; return its exit code."""
        _end([process], grace_s)
        self._processes = [other for other in self._processes if other is not process]
        return process.wait()

    def close(self, *, grace_s: float = 3.0) -> None:
        """End all processes that still run, newest first, within about ``grace_s``."""
        _end(self._processes[::-1], grace_s)
        self._processes.clear()


def command_line(command: Sequence[str | os.PathLike[str]], *, namespace: str | None = None) -> list[str]:
    """Return ``command`` wrapped so that it dies with its starter and runs in ``namespace``."""
    wrapped = ["setpriv", "--pdeathsig", "KILL", "--"]
    if namespace is not None:
        wrapped += ["nsenter", f"--net=/run/netns/{namespace}", "--"]
    return [*wrapped, *(os.fspath(word) for word in command)]


@cache
def _spawner() -> ThreadPoolExecutor:
    # The death signal comes when the *thread* that forked ends, not the process: all children are
    # forked by one thread that lives as long as the interpreter.
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="lab-spawner")


def _spawn(
    command: list[str],
    env: dict[str, str],
    stdin: int | IO[bytes],
    stdout: int | IO[bytes],
    stderr: IO[bytes],
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, env=env, stdin=stdin, stdout=stdout, stderr=stderr, process_group=0)
    except OSError as error:
        raise LabError(f"cannot start {command[0]}: {error.strerror}; install util-linux") from error


def _end(processes: Sequence[Process], grace_s: float) -> None:
    for process in processes:
        if process.running:
            process.popen.send_signal(signal.SIGTERM)
    deadline_s = time.monotonic() + grace_s
    for process in processes:
        try:
            process.popen.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.popen.kill()
    for process in processes:
        process.popen.wait()

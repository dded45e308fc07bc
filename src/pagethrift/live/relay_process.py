"""The relay as a process of its own, beside the driver.

It prints one RelayStatus as a JSON line about ten times a second, at each change of state and when asked,
reads ``{"round": n}``, ``{"go": true}`` and ``{"status": true}`` as lines, and ends when its standard input
closes: a driver that dies takes the relay with it, and the source guest runs on.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pagethrift import errors
from pagethrift.errors import LinkError, PagethriftError, StreamError
from pagethrift.model.relay_protocol import RelayState, RelayStatus

START_S = 180.0
"""Compiling the kernels without a cache takes tens of seconds on a busy machine."""
END_S = 10.0
REFRESH_S = 0.1
"""a relay that does not answer by then is taken at its last word"""
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_STREAM_ERROR = re.compile(r"stream byte (\d+): expected (.*), got (.*)")
_CLASSES = {c.exit_code: c for c in (errors.UsageError, errors.LinkError, errors.QmpError, errors.LabError)}


class RelayFolder:
    """A private folder with the relay's unix socket, which the source QEMU's user may open."""

    def __init__(self, parent: Path | None, user_id: int, group_id: int) -> None:
        self._path = Path(tempfile.mkdtemp(prefix="pagethrift-", dir=parent))
        self._owner = (user_id, group_id)
        self.address = f"unix:{self._path / 'relay.sock'}"
        self._hand_over(self._path)

    def share(self) -> None:
        """Let QEMU's user connect; call once the relay listens."""
        self._hand_over(self._path / "relay.sock")

    def remove(self) -> None:
        """Remove folder and socket."""
        shutil.rmtree(self._path, ignore_errors=True)

    def _hand_over(self, path: Path) -> None:
        if os.geteuid() == 0 and self._owner[0] not in (0, -1):
            os.chown(path, *self._owner)


def relay_command(
    listen: str,
    connect: str,
    strategy: str,
    parameters: Mapping[str, float],
    bandwidth_bps: int | None,
    downtime_limit_s: float | None = None,
) -> list[str]:
    """Return the argv that starts the relay; bandwidth in bytes per second."""
    argv = [sys.executable, "-m", "pagethrift", "relay", "--listen", listen, "--connect", connect]
    argv += ["--strategy", strategy]
    for name, value in parameters.items():
        argv += ["--param", f"{name}={value}"]
    if bandwidth_bps is not None:
        argv += ["--bandwidth", f"{bandwidth_bps}B/s"]
    if downtime_limit_s is not None:
        argv += ["--downtime-limit", f"{downtime_limit_s:.6f}s"]
    return [*argv, "--json"]


class RelayProcess:
    """A running relay; ``status`` is the last thing it said."""

    def __init__(self, process: asyncio.subprocess.Process, on_status: Callable[[RelayStatus], None]) -> None:
        self.status = RelayStatus()
        self._process = process
        self._on_status = on_status
        self._listening = asyncio.Event()
        self._told = asyncio.Event()
        self._complaints: deque[str] = deque(maxlen=20)
        self._broken: PagethriftError | None = None
        self._tasks = [
            asyncio.create_task(self._read_statuses()),
            asyncio.create_task(self._read_complaints()),
        ]

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        on_status: Callable[[RelayStatus], None],
        timeout_s: float = START_S,
    ) -> RelayProcess:
        """Start the relay and wait until it listens.

        Raises the error the relay ended with, or LinkError when it does not come up.
        """
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            # its own session: Ctrl-C must reach the driver alone, which ends the relay in order
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        relay = cls(process, on_status)
        try:
            async with asyncio.timeout(timeout_s):
                await relay._listening.wait()
        except TimeoutError as error:
            await relay.close(0.0)
            raise LinkError(
                f"the relay was not ready within {timeout_s:g} s; run it by hand to see why"
            ) from error
        except asyncio.CancelledError:
            await relay.close(0.0)
            raise
        if relay.failed:
            failure = await relay.failure()
            await relay.close()
            raise failure
        return relay

    @property
    def ended(self) -> bool:
        """It reported DONE or FAILED, or its output closed."""
        return self._tasks[0].done() or self.status.state in (RelayState.DONE, RelayState.FAILED)

    @property
    def failed(self) -> bool:
        """It ended without having forwarded the whole stream."""
        return self.ended and self.status.state is not RelayState.DONE

    def tell_round(self, number: int) -> None:
        """Say that QEMU begins round ``number``."""
        self._tell({"round": number})

    def tell_go(self) -> None:
        """Say that the switchover is decided: held pages are released, buffers shrink."""
        self._tell({"go": True})

    async def refresh(self) -> None:
        """Bring ``status`` up to now; the relay is asked and has REFRESH_S to answer."""
        asked_s = time.monotonic()
        self._tell({"status": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REFRESH_S):
                while self.status.now_s < asked_s and not self.ended:
                    self._told.clear()
                    await self._told.wait()

    async def failure(self) -> PagethriftError:
        """Return why the relay failed, as the error class its exit code names."""
        code = await self._wait(END_S)
        if self._broken is not None:
            return self._broken
        said = self.status.error or (self._complaints[-1] if self._complaints else "")
        if code is not None and code < 0:
            said = said or f"ended by {signal.Signals(-code).name}"
        return _error(code or 0, said or f"ended with exit code {code}")

    async def wait_done(self, timeout_s: float = END_S) -> bool:
        """Wait for the orderly end; False when it did not come, or came with an error."""
        return await self._wait(timeout_s) == 0

    async def close(self, patience_s: float = 2.0) -> None:
        """End the relay: close its input, then terminate, then kill. Its sockets close either way."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if await self._wait(patience_s) is None:
            self._signal(signal.SIGTERM)
            if await self._wait(patience_s) is None:
                self._signal(signal.SIGKILL)
                await self._process.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wait(self, timeout_s: float) -> int | None:
        try:
            async with asyncio.timeout(timeout_s):
                code = await self._process.wait()
                await asyncio.wait(self._tasks)  # what it said last may still be in the pipes
                return code
        except TimeoutError:
            return self._process.returncode

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)

    def _tell(self, line: Mapping[str, object]) -> None:
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(json.dumps(line).encode() + b"\n")

    async def _read_statuses(self) -> None:
        assert self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                if not line.startswith(b"{"):
                    continue
                self.status = RelayStatus.from_json(line)
                self._on_status(self.status)
                self._listening.set()
                self._told.set()
        except (PagethriftError, ValueError) as error:
            self._broken = LinkError(str(error))
        finally:
            self._listening.set()
            self._told.set()
            if self.status.state not in (RelayState.DONE, RelayState.FAILED):
                self._on_status(self.status)

    async def _read_complaints(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            text = line.decode(errors="replace").strip().removeprefix("pagethrift: ")
            if text:
                self._complaints.append(text)


def _error(code: int, said: str) -> PagethriftError:
    text = _STREAM_ERROR.search(said)
    if code == StreamError.exit_code and text is not None:
        return StreamError(int(text[1]), text[2], text[3])
    return _CLASSES.get(code, LinkError)(f"relay: {said}")


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

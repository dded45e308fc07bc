"""The relay as a process of its own, beside the driver.

Both follow model/relay_protocol.py. The relay ends when its standard input closes: a driver that dies
takes the relay with it, and the source guest runs on.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import secrets
import signal
import sys
import tempfile
import time
import uuid
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import assert_never

from pagethrift.address import parse_address
from pagethrift.errors import LinkError, PagethriftError, UsageError
from pagethrift.model.bounded_lines import BoundedLines
from pagethrift.model.channels import ChannelSettings
from pagethrift.model.error_data import from_data
from pagethrift.model.json_lines import LINE_MAX_BYTES
from pagethrift.model.relay_protocol import (
    PROTOCOL_VERSION,
    AskStatus,
    BeginRound,
    Change,
    Go,
    OtherProtocol,
    RelayCommand,
    RelayEnd,
    RelayStatus,
    decode_message,
    encode_command,
)

START_S = 180.0
"""compiling the kernels without a cache takes tens of seconds on a busy machine"""
END_S = 10.0
REFRESH_S = 0.1
"""how long to wait for an answer before the relay's last status is used"""
READ_BYTES = 64 << 10
CRASH_BYTES = 4 << 10
"""how much of the end of the relay's standard error is kept"""
CRASH_CHARACTERS = 300
SOCKET_NAME = "relay.sock"
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class RelayFolder:
    """A folder for the relay's Unix socket, which the source QEMU's user may enter once it is shared.

    QEMU's user may own the folder around it, and could put a link in the place of anything there. So this
    folder and the socket in it are reached by descriptors only, and the folder stays ours: nobody else can
    ever write to it, and before ``share`` nobody else can enter.
    """

    def __init__(self, parent: Path | None, user_id: int, group_id: int) -> None:
        """Make the folder in ``parent``, or in the temporary directory. Raises UsageError."""
        parent = Path(tempfile.gettempdir()) if parent is None else parent.absolute()
        self._name = f"pagethrift-{secrets.token_hex(4)}"
        self._owner = (user_id, group_id)
        self._folder = -1
        try:
            self._parent = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._folder = self._make()
            except BaseException:
                os.close(self._parent)
                raise
        except OSError as error:
            raise UsageError(
                f"--relay-folder {parent}: no folder can be made in it: {error.strerror or error};"
                " choose another one"
            ) from error
        self.uri = f"unix:{parent / self._name / SOCKET_NAME}"
        """for QEMU"""
        self.address = (
            self.uri if os.geteuid() else f"unix:/proc/{os.getpid()}/fd/{self._folder}/{SOCKET_NAME}"
        )
        """for the relay: the folder itself, whatever stands in its place"""
        try:
            parse_address(self.uri)
        except UsageError:
            self.remove()
            raise

    def share(self) -> None:
        """Let QEMU's user connect; call once the relay listens. Raises LinkError."""
        user_id, group_id = self._owner
        if os.geteuid() != 0 or user_id in (0, -1):
            return
        try:
            # nobody else can enter yet, so this is the relay's socket
            os.chown(SOCKET_NAME, user_id, group_id, dir_fd=self._folder, follow_symlinks=False)
            os.fchown(self._folder, -1, group_id)
            os.fchmod(self._folder, 0o710)
        except OSError as error:
            raise LinkError(
                f"cannot let the source QEMU's user {user_id} use the relay's socket: {error.strerror};"
                " choose another --relay-folder"
            ) from error

    def remove(self) -> None:
        """Remove socket and folder; may be called again."""
        if self._folder < 0:
            return
        with contextlib.suppress(OSError):
            os.unlink(SOCKET_NAME, dir_fd=self._folder)
        os.close(self._folder)
        self._folder = -1
        with contextlib.suppress(OSError):  # an empty folder and nothing else can be removed so
            os.rmdir(self._name, dir_fd=self._parent)
        os.close(self._parent)

    def _make(self) -> int:
        """Make the folder and return its descriptor. Raises OSError, also when it is another one already."""
        os.mkdir(self._name, 0o700, dir_fd=self._parent)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        folder = os.open(self._name, flags, dir_fd=self._parent)
        found = os.fstat(folder)
        if found.st_uid != os.geteuid() or found.st_mode & 0o077 or os.listdir(folder):
            os.close(folder)
            raise OSError(errno.ESTALE, "somebody replaced it")
        return folder


def relay_command(
    listen: str,
    connect: str,
    strategy: str,
    parameters: Mapping[str, float],
    bandwidth_bps: int | None,
    downtime_limit_s: float | None = None,
    channels: ChannelSettings | None = None,
    tls_folder: Path | None = None,
    tls_hostname: str = "",
    shown_as: str = "",
) -> list[str]:
    """Return the argv that starts the relay; bandwidth in bytes per second.

    ``shown_as``: the id under which the relay itself shows the migration; empty: its driver shows it.
    """
    argv = [sys.executable, "-m", "pagethrift", "relay", "--listen", listen, "--connect", connect]
    argv += ["--id", shown_as] if shown_as else ["--unlisted"]
    argv += ["--strategy", strategy]
    for name, value in parameters.items():
        argv += ["--param", f"{name}={value}"]
    if bandwidth_bps is not None:
        argv += ["--bandwidth", f"{bandwidth_bps}B/s"]
    if downtime_limit_s is not None:
        argv += ["--downtime-limit", f"{downtime_limit_s:.9f}s"]
    if channels is not None:
        argv += ["--channels", f"{channels.channels}", "--guest-uuid", str(uuid.UUID(bytes=channels.uuid))]
        argv += ["--compress", channels.compress, "--window", f"{channels.window_bytes}B"]
    if tls_folder is not None:
        argv += ["--tls-dir", str(tls_folder)]
    if tls_hostname:
        argv += ["--tls-hostname", tls_hostname]
    return [*argv, "--json"]


class RelayProcess:
    """A running relay; ``status`` is its last report. ``on_news`` is called after each message."""

    def __init__(self, process: asyncio.subprocess.Process, on_news: Callable[[RelayStatus], None]) -> None:
        self.status = RelayStatus()
        self._process = process
        self._on_news = on_news
        self._listening = asyncio.Event()
        self._told = asyncio.Event()
        self._end: RelayEnd | None = None
        self._silent = False
        """the relay's output is closed"""
        self._broken: LinkError | None = None
        self._misunderstood = ""
        """why the first line that was not a message was refused"""
        self._crash = b""
        self._tasks = [
            asyncio.create_task(self._read_messages()),
            asyncio.create_task(self._read_crash()),
        ]

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        on_news: Callable[[RelayStatus], None],
        timeout_s: float = START_S,
        pass_fds: Sequence[int] = (),
    ) -> RelayProcess:
        """Start the relay and wait until it listens; it gets the descriptors ``pass_fds``.

        Raises the error the relay ended with, or LinkError when it is not ready in time.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                # its own session: Ctrl-C must reach only the driver, which ends the relay properly
                start_new_session=True,
                pass_fds=pass_fds,
                preexec_fn=_die_with_parent,
            )
        except OSError as error:  # no memory, no process number, no descriptor
            raise LinkError(f"the relay cannot be started: {error.strerror or error}") from error
        relay = cls(process, on_news)
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
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """The relay has reported its end, or has closed its output, or speaks another protocol."""
        return self._end is not None or self._broken is not None or self._silent

    @property
    def failed(self) -> bool:
        """The relay ended without having forwarded the whole stream."""
        return self.ended and (self._end is None or self._end.error is not None)

    def tell_round(self, number: int) -> None:
        """Tell the relay that QEMU begins round ``number``."""
        self._tell(BeginRound(number))

    def tell_go(self) -> None:
        """Tell the relay that the switchover is decided: it releases held pages and shrinks buffers."""
        self._tell(Go())

    def tell_change(self, change: Change) -> None:
        """Tell the relay what an operator changed."""
        self._tell(change)

    async def refresh(self) -> None:
        """Ask the relay for its status, and wait up to REFRESH_S for the answer."""
        asked_s = time.monotonic()
        self._tell(AskStatus())
        await self._wait_until(lambda: self.status.now_s >= asked_s or self.ended, REFRESH_S)

    async def wait_last_word(self, timeout_s: float) -> bool:
        """Wait until the relay has reported how it ended, or no longer can; False if it still works."""
        await self._wait_until(lambda: self.ended, timeout_s)
        return self.ended

    async def failure(self) -> PagethriftError:
        """Return the error the relay ended with; LinkError when it ended without reporting one."""
        if self._broken is not None:
            return self._broken
        how = _how_it_ended(await self._wait(END_S))
        if self._end is not None and self._end.error is not None:
            return from_data(self._end.error)
        said = self._last_line() or self._misunderstood
        return LinkError(f"relay: {said} ({how})" if said else f"relay: {how}")

    async def wait_done(self, timeout_s: float = END_S) -> bool:
        """Wait for the relay's normal end; False when it did not come, or came with an error."""
        return await self._wait(timeout_s) == 0 and not self.failed

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

    async def _wait_until(self, reached: Callable[[], bool], timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not reached():
                    self._told.clear()
                    await self._told.wait()

    async def _wait(self, timeout_s: float) -> int | None:
        try:
            async with asyncio.timeout(timeout_s):
                code = await self._process.wait()
                await asyncio.wait(self._tasks)  # the last messages may still be in the pipes
                return code
        except TimeoutError:
            return self._process.returncode

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)

    def _tell(self, command: RelayCommand) -> None:
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(encode_command(command))

    async def _read_messages(self) -> None:
        assert self._process.stdout is not None
        lines = BoundedLines(LINE_MAX_BYTES)
        try:
            while data := await self._process.stdout.read(READ_BYTES):
                for line in lines.feed(data):
                    try:
                        self._take_in(line)
                    except LinkError as error:
                        self._misunderstood = self._misunderstood or str(error)
        finally:
            self._silent = True
            self._notify()

    def _take_in(self, line: bytes) -> None:
        message = decode_message(line)
        match message:
            case RelayStatus():
                self.status = message
            case RelayEnd():
                self._end = message
            case OtherProtocol(version):
                self._broken = LinkError(
                    f"the relay speaks protocol {version}, this driver {PROTOCOL_VERSION}: both must be from"
                    " one installation of pagethrift; do not update it during a migration"
                )
            case _:
                assert_never(message)
        self._notify()

    def _notify(self) -> None:
        self._listening.set()
        self._told.set()
        self._on_news(self.status)

    async def _read_crash(self) -> None:
        """Keep the end of the relay's standard error, in case the relay sends no error message."""
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(READ_BYTES):
            self._crash = (self._crash + data)[-CRASH_BYTES:]

    def _last_line(self) -> str:
        """Return the last line with a letter in it, without the frame around usage errors."""
        lines = self._crash.decode(errors="replace").splitlines()
        text = next((line for line in reversed(lines) if any(map(str.isalnum, line))), "")
        text = text.strip(" │").removeprefix("pagethrift: ")[:CRASH_CHARACTERS]
        return "".join(each if each.isprintable() else "?" for each in text)


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "closed its output but does not end"
    if code >= 0:
        return f"ended with exit code {code}"
    known = -code in set(signal.Signals)
    return f"ended by {signal.Signals(-code).name if known else f'signal {-code}'}"


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

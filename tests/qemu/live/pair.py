"""Two real QEMUs for the driver's tests, and fakes that misbehave as real ones rarely do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pagethrift.live.migrate_options import MigrateOptions
from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from tests.qemu import machines
from tests.qemu.tiny import MIB, Pattern, Region, TinyGuest

WRITER = TinyGuest(
    (
        Region(Pattern.STATIC, 4 * MIB, 1024),
        Region(Pattern.RANDOM_PAGES, 8 * MIB, 512, writes=64),
        Region(Pattern.RANDOM_WORDS, 12 * MIB, 256, writes=64),
    ),
    writes_per_s=5000,
)
"""7 MiB of content; rewrites its 2 MiB of random pages faster than `slow_link` carries them"""
SLOW_BPS = 6 << 20


@dataclass(frozen=True, slots=True)
class Pair:
    """A source that runs the writer and a deferred destination, each with a second, free monitor."""

    source: machines.Machine
    destination: machines.Machine
    folder: Path
    disk: Path | None = None
    """an image that both have as a disk"""

    def options(self, **changes: Any) -> MigrateOptions:
        """Return options for this pair: by relay unless ``plain``."""
        values: dict[str, Any] = {
            "source_qmp": str(self.folder / "a.qmp"),
            "destination": f"unix:{self.folder}/link.sock",
            "destination_qmp": str(self.folder / "b.qmp"),
            "downtime_limit_s": 0.5,
        }
        return MigrateOptions(**(values | changes))

    def states(self) -> tuple[str, str]:
        """Return the run states of source and destination; "ended" for a process that is gone."""
        return _run_state(self.source), _run_state(self.destination)

    def parameter(self, name: str) -> object:
        """Return a migration parameter of the source."""
        return self.source.qmp.execute("query-migrate-parameters")[name]


@contextlib.contextmanager
def running_pair(
    binary: machines.QemuLike,
    folder: Path,
    destination_ram_bytes: int = 64 * MIB,
    incoming: str = "defer",
    paused: bool = True,
    machine: str = "pc",
    destination_binary: machines.QemuLike | None = None,
    with_disk: bool = False,
    extra: Sequence[str] = (),
    destination_extra: Sequence[str] = (),
) -> Iterator[Pair]:
    """Start both; end both. The destination gets ``-incoming incoming`` and, if ``paused``, ``-S``.

    ``binary`` is the source's, and without ``destination_binary`` the destination's too. ``extra`` are more
    of the source's arguments, ``destination_extra`` of the destination's.
    """
    disk = None
    if with_disk:
        disk = folder / "disk.img"
        with disk.open("wb") as file:
            file.truncate(MIB)
    monitors = [*_monitor(folder / "a.qmp"), *_monitor(folder / "a2.qmp"), *_disk(disk), *extra]
    with (
        machines.source(binary, WRITER, folder, machine, extra=monitors) as source,
        _destination(
            destination_binary or binary,
            folder,
            destination_ram_bytes,
            incoming,
            paused,
            machine,
            [*_disk(disk), *destination_extra],
        ) as destination,
    ):
        source.wait_ready()
        yield Pair(source, destination, folder, disk)


def destination_of(binary: machines.QemuLike, pair: Pair) -> machines.Machine:
    """Start one more destination for a pair whose first one is gone."""
    (pair.folder / "b.qmp").unlink(missing_ok=True)
    return _destination(binary, pair.folder, pair.source.ram_bytes, "defer", True, "pc", _disk(pair.disk))


def _destination(
    binary: machines.QemuLike,
    folder: Path,
    ram_bytes: int,
    incoming: str,
    paused: bool,
    machine: str,
    extra: Sequence[str],
) -> machines.Machine:
    image = WRITER.write(folder / "guest.bin")
    arguments = f"-machine {machine} -accel tcg -cpu qemu64 -m {ram_bytes // 1024}k -nodefaults"
    arguments += f" -display none -no-reboot -kernel {image} -incoming {incoming}{' -S' * paused}"
    more = [*_monitor(folder / "b.qmp"), *extra]
    return machines.Machine(binary, [*arguments.split(), *more], folder, ram_bytes, "destination")


def _disk(image: Path | None) -> Sequence[str]:
    if image is None:
        return ()
    node = f"driver=raw,node-name=disk,file.driver=file,file.filename={image},file.locking=on"
    return ("-blockdev", node, "-device", "virtio-blk-pci,drive=disk")


def _run_state(machine: machines.Machine) -> str:
    try:
        return str(machine.qmp.execute("query-status", timeout_s=3)["status"])
    except TimeoutError:
        return "hung" if machine.process.poll() is None else "ended"
    except Exception:  # QMP has hung up: the process is about to end
        machine.process.wait(5)
        return "ended"


def _monitor(path: Path) -> Sequence[str]:
    return ("-qmp", f"unix:{path},server=on,wait=off")


@dataclass(slots=True)
class After:
    """A stop rule of the tests: switches over at a round, or never."""

    round: int | None
    seen: StopFacts | None = None

    def decide(self, facts: StopFacts) -> StopDecision:
        self.seen = facts
        if self.round is not None and facts.round >= self.round:
            return StopDecision(StopAction.SWITCH_OVER, f"round {self.round}", 0.1)
        return StopDecision(StopAction.CONTINUE)


@contextlib.asynccontextmanager
async def slow_link(pair: Pair) -> AsyncIterator[MigrateOptions]:
    """Carry one migration at SLOW_BPS, over all its sockets; yields the options that go through it."""
    far, pace = pair.folder / "far.sock", Pace(SLOW_BPS)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(far)
        back = asyncio.create_task(_copy(far_reader, writer, None))
        await _copy(reader, far_writer, pace)
        await back

    server = await asyncio.start_unix_server(carry, pair.folder / "link.sock", limit=65536)
    try:
        yield pair.options(incoming_uri=f"unix:{far}")
    finally:
        server.close()


class Pace:
    """One link's rate, shared by its connections."""

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self._free_s = 0.0

    async def carry(self, count: int) -> None:
        """Return when the link has carried so many bytes more."""
        now_s = asyncio.get_running_loop().time()
        self._free_s = max(self._free_s, now_s) + count / self.bytes_per_s
        await asyncio.sleep(self._free_s - now_s)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pace: Pace | None) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
            if pace is not None:
                await pace.carry(len(data))
    writer.close()


@contextlib.asynccontextmanager
async def sink(path: Path, bytes_per_s: int | None = None) -> AsyncIterator[None]:
    """Listen like a destination that swallows the stream and never answers."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.read(65536 if bytes_per_s is None else bytes_per_s // 20):
                if bytes_per_s is not None:
                    await asyncio.sleep(0.05)
        writer.close()

    server = await asyncio.start_unix_server(swallow, path, limit=65536)
    try:
        yield
    finally:
        server.close()

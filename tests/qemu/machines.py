"""Start QEMUs with a tiny guest, migrate between them, dump and compare their memory.

with source(binary, guest, tmp_path) as a, destination(binary, guest, tmp_path) as b:
    a.wait_ready()
    migrate(a, b, tmp_path)
    assert differing_pages(a.dump_ram(), b.dump_ram()) == []
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np

from pagethrift.errors import PagethriftError
from pagethrift.lab.guest import packages
from tests.qemu.qmp import Qmp
from tests.qemu.tiny import MIB, PAGE_BYTES, READY_MAGIC, STATUS, TinyGuest

HOLE = range(0xA0000, MIB)
"""VGA window and BIOS shadow: not plain RAM, left out of comparisons"""

SERIES: tuple[packages.QemuSeries, ...] = tuple(
    series
    for series in get_args(packages.QemuSeries)
    if series in os.environ.get("PAGETHRIFT_QEMUS", "7.2,10.0").split(",")
)
"""the QEMUs that the tests run on; `make test-all` names all in PAGETHRIFT_QEMUS"""

_serial = itertools.count()


class QemuLike(Protocol):
    """What a QEMU to start is: how a command line begins, environment (lab.packages.QemuBinary)."""

    @property
    def command(self) -> Sequence[str]: ...
    @property
    def env(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class InNamespace:
    """A QEMU whose process is in a network namespace."""

    binary: QemuLike
    namespace: str

    @property
    def command(self) -> Sequence[str]:
        return ["ip", "netns", "exec", self.namespace, *self.binary.command]

    @property
    def env(self) -> Mapping[str, str]:
        return self.binary.env


class Machine:
    """A running QEMU process with its monitor; ``close`` ends it."""

    def __init__(
        self, binary: QemuLike, arguments: Sequence[str], directory: Path, ram_bytes: int, name: str
    ) -> None:
        self.ram_bytes = ram_bytes
        self.directory = directory
        self.name = f"{name}{next(_serial)}"
        self.log = directory / f"{self.name}.log"
        self.qmp_path = directory / f"{self.name}.qmp"
        command = [*_end_with_parent(), *binary.command, *arguments]
        command += ["-qmp", f"unix:{self.qmp_path},server=on,wait=off"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(binary.env or {})},
            )
        try:
            self.qmp = Qmp(self.qmp_path)
        except BaseException as error:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"QEMU did not start: {self.log.read_text()}") from error

    def wait_ready(self, timeout_s: float = 20.0) -> None:
        """Return once the guest has filled its regions and begun to sweep."""
        self._wait(lambda: self.read(STATUS, 8) == READY_MAGIC, timeout_s, "the guest to be ready")

    def sweeps(self) -> int:
        """Return how many sweeps the guest says it has finished."""
        return int.from_bytes(self.read(STATUS + 8, 8), "little")

    def wait_sweeps(self, count: int, timeout_s: float = 20.0) -> None:
        """Return once the guest has finished ``count`` sweeps since its start."""
        self._wait(lambda: self.sweeps() >= count, timeout_s, f"sweep {count}")

    def read(self, address: int, size: int) -> bytes:
        """Return ``size`` bytes of guest physical memory from ``address`` on."""
        path = self.directory / f"{self.name}.mem"
        self.qmp.execute("pmemsave", val=address, size=size, filename=str(path), timeout_s=60)
        data = path.read_bytes()
        path.unlink()
        return data

    def dump_ram(self) -> bytes:
        """Return all RAM from address 0 on (below 3 GiB an address is the offset in pc.ram).

        The guest runs on if it runs; stop it first for a consistent dump.
        """
        return self.read(0, self.ram_bytes)

    def stopped_ram(self) -> bytes:
        """Stop the guest, dump its RAM, let it run on."""
        self.qmp.execute("stop")
        data = self.dump_ram()
        self.qmp.execute("cont")
        return data

    def close(self) -> None:
        """End the process, whatever state it is in (also stopped by a signal)."""
        self.qmp.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self, ready: Callable[[], bool], timeout_s: float, what: str) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not ready():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{self.name}: waited {timeout_s} s for {what}; {self.log.read_text()}")
            time.sleep(0.02)


@contextlib.contextmanager
def source(
    binary: QemuLike,
    guest: TinyGuest,
    directory: Path,
    machine: str = "pc",
    ram_bytes: int = 64 * MIB,
    extra: Sequence[str] = (),
) -> Iterator[Machine]:
    """Start a QEMU that runs ``guest``; ends it at the end of the block.

    ``directory`` takes sockets, logs and dumps; keep its path short (unix sockets: 107 bytes).
    """
    image = guest.write(directory / f"guest{next(_serial)}.bin")
    arguments = [*_common(machine, ram_bytes), "-kernel", str(image), *extra]
    with Machine(binary, arguments, directory, ram_bytes, "source") as started:
        yield started


@contextlib.contextmanager
def destination(
    binary: QemuLike,
    guest: TinyGuest,
    directory: Path,
    machine: str = "pc",
    ram_bytes: int = 64 * MIB,
    extra: Sequence[str] = (),
) -> Iterator[Machine]:
    """Start a QEMU that waits for ``migrate-incoming`` and stays paused after it (``-S``).

    It gets the same ``-kernel``: the option ROM that carries it is a RAM block of the stream.
    """
    image = guest.write(directory / f"guest{next(_serial)}.bin")
    arguments = [*_common(machine, ram_bytes), "-kernel", str(image), "-incoming", "defer", "-S", *extra]
    with Machine(binary, arguments, directory, ram_bytes, "destination") as started:
        yield started


def migrate(
    source: Machine,
    destination: Machine,
    directory: Path,
    *,
    to: str | None = None,
    listen: str | None = None,
    capabilities: Mapping[str, bool] | None = None,
    parameters: Mapping[str, Any] | None = None,
    timeout_s: float = 60.0,
) -> dict[str, Any]:
    """Migrate and wait for both ends; return the source's last ``query-migrate``.

    ``to`` is the URI the source connects to and ``listen`` the one the destination
    listens on; they differ when a relay stands between (default: one unix socket in
    ``directory``). ``capabilities`` are added to return-path and events, ``parameters``
    set on the source. The destination stays paused.

    Raises RuntimeError when the migration fails and TimeoutError after ``timeout_s``.
    """
    begin(source, destination, directory, to, listen, capabilities, parameters)
    return finish(source, destination, timeout_s)


def begin(
    source: Machine,
    destination: Machine | None,
    directory: Path,
    to: str | None = None,
    listen: str | None = None,
    capabilities: Mapping[str, bool] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Start a migration and return at once; arguments as for ``migrate``."""
    address = f"unix:{directory}/migration{next(_serial)}.sock"
    both = {"return-path": destination is not None, "events": True, **(capabilities or {})}
    rows = [{"capability": name, "state": state} for name, state in both.items()]
    source.qmp.execute("migrate-set-capabilities", capabilities=rows)
    if parameters:
        source.qmp.command("migrate-set-parameters", dict(parameters))
    if destination is not None:
        destination.qmp.execute("migrate-set-capabilities", capabilities=rows)
        destination.qmp.execute("migrate-incoming", uri=listen or to or address)
    source.qmp.migrate(to or listen or address)


def finish(source: Machine, destination: Machine | None, timeout_s: float = 60.0) -> dict[str, Any]:
    """Wait until the source completed and the destination has loaded; see ``migrate``."""
    deadline_s = time.monotonic() + timeout_s
    info = _wait_status(source, "completed", deadline_s)
    if destination is not None:
        _wait_status(destination, "completed", deadline_s)
        while destination.qmp.execute("query-status")["status"] == "inmigrate":
            if time.monotonic() > deadline_s:
                raise TimeoutError("the destination stayed in inmigrate")
            time.sleep(0.005)
    return info


def assert_failed_and_running(machine: Machine, *status: str, timeout_s: float = 10.0) -> None:
    """The migration is over at the source, with one of ``status`` (default: failed); its guest works on."""
    deadline_s = time.monotonic() + timeout_s
    while (found := machine.qmp.execute("query-migrate")["status"]) not in (status or ("failed",)):
        assert time.monotonic() < deadline_s, f"the source is {found}"
        time.sleep(0.02)
    assert machine.qmp.execute("query-status")["status"] == "running"
    machine.wait_sweeps(machine.sweeps() + 1)


def differing_pages(left: bytes, right: bytes) -> list[int]:
    """Return the addresses of pages that differ, the VGA and BIOS window left out."""
    if len(left) != len(right):
        raise ValueError(f"dumps differ in size: {len(left)} and {len(right)} bytes")
    a = np.frombuffer(left, np.uint64).reshape(-1, PAGE_BYTES // 8)
    b = np.frombuffer(right, np.uint64).reshape(-1, PAGE_BYTES // 8)
    pages = np.flatnonzero((a != b).any(axis=1)) * PAGE_BYTES
    return [int(page) for page in pages if int(page) not in HOLE]


def find_qemu(series: packages.QemuSeries) -> QemuLike | None:
    """Return a QEMU of ``series`` or None when this machine can have none."""
    try:
        return packages.qemu(series)
    except PagethriftError:
        return None


def _end_with_parent() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def _common(machine: str, ram_bytes: int) -> list[str]:
    text = f"-machine {machine} -accel tcg -cpu qemu64 -m {ram_bytes // 1024}k"
    text += " -nodefaults -display none -no-reboot"
    return text.split()


def _wait_status(machine: Machine, wanted: str, deadline_s: float) -> dict[str, Any]:
    while True:
        info: dict[str, Any] = machine.qmp.execute("query-migrate", timeout_s=30)
        status = info.get("status")
        if status == wanted:
            return info
        if status in ("failed", "cancelled"):
            raise RuntimeError(f"{machine.name}: migration {status}: {info.get('error-desc', info)}")
        if machine.process.poll() is not None:
            raise RuntimeError(f"{machine.name} ended: {machine.log.read_text()}")
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{machine.name}: migration still {status}: {info}")
        time.sleep(0.01)

"""A guest of libvirt's that moves between the two hosts, watched through a second monitor.

The second monitor only observes and dumps memory; what is tested never uses it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from pagethrift.lab.guest.image import READY_MARKER
from tests.libvirt.hosts import DOMAIN, LibvirtHost, LibvirtLab, until
from tests.qemu.machines import differing_pages
from tests.qemu.qmp import Qmp
from tests.qemu.tiny import READY_MAGIC, STATUS, TinyGuest, mixed

MEMORY_BYTES = 256 << 20
PAGETHRIFT = (sys.executable, "-m", "pagethrift")
RANDOM_WRITER = "random-writer,64,12"
EXACT: TinyGuest = mixed(region_pages=2048, writes_per_s=3000)
"""takes each page out of the TLB before it writes, so that QEMU 7.2 loses no mark; 12 MB/s at most"""
LINUX_WORDS = (
    "console=ttyS0 quiet panic=-1 nokaslr mitigations=off transparent_hugepage=never pt.memory=32 pt.clear=1"
)
LINUX_BOOT = f"""<kernel>/run/images/{{kernel}}</kernel>
    <initrd>/run/images/{{initrd}}</initrd>
    <cmdline>{LINUX_WORDS} pt.activity={{activity}}</cmdline>"""
EXACT_BOOT = "<kernel>/run/images/exact</kernel>"
END_S = 300.0


@dataclass(frozen=True, slots=True)
class Dumps:
    """RAM of both ends, from address 0 on."""

    source: bytes
    destination: bytes


@dataclass
class Trip:
    """One attempt to move the guest."""

    code: int
    output: str
    errors: str
    took_s: float
    link_bytes: int
    """Ethernet frames from the source's host to the other's"""
    downtime_s: float | None = None
    """STOP at the source to RESUME at the destination, by QEMU's stamps"""
    ram: Dumps | None = None
    """where it was asked for"""
    passes: int = 0
    lines: list[dict[str, Any]] = field(default_factory=list)
    """what --json printed"""

    @property
    def result(self) -> dict[str, Any]:
        """The record, of --json."""
        return next(line for line in reversed(self.lines) if line.get("type") == "result")

    @property
    def differing(self) -> list[int]:
        """Addresses of pages whose RAM differs between the ends; AssertionError when it was not dumped."""
        assert self.ram is not None
        return differing_pages(self.ram.source, self.ram.destination)


class Guest:
    """One domain; ``here`` is where it runs."""

    def __init__(self, lab: LibvirtLab) -> None:
        self.lab = lab
        self.here = lab.a
        self._exact = False
        self._activity = ""
        self._monitor: Qmp | None = None

    @property
    def there(self) -> LibvirtHost:
        """The other host."""
        return self.lab.b if self.here is self.lab.a else self.lab.a

    @property
    def monitor(self) -> Qmp:
        """The second monitor of the QEMU that has the guest."""
        assert self._monitor is not None
        return self._monitor

    def run(self, exact: bool = False, activity: str = RANDOM_WRITER) -> None:
        """Make sure that the guest runs at exactly one host; boot it anew if need be.

        ``exact``: where QEMU loses dirty marks of a Linux guest, the guest is EXACT. ``activity``: what a
        Linux guest does.
        """
        exact = exact and self.lab.loses_marks
        states = {host: host.state() for host in (self.lab.a, self.lab.b)}
        if sorted(states.values()) == ["", "running"] and (exact, activity) == (self._exact, self._activity):
            return
        self.end()
        self.here, self._exact, self._activity = self.lab.a, exact, activity
        text = Path(__file__).with_name("guest.xml").read_text().replace("@BOOT@", self._boot())
        self.here.path("/run/guest/domain").write_text(text)
        self.here.virsh("create", "/run/guest/domain")
        self._monitor = Qmp(self.here.path("/run/guest/monitor"))
        until(self._is_ready, "the guest is ready", 60.0)
        time.sleep(1.0)  # writes spread over its memory

    def assert_stayed(self) -> None:
        """The domain runs on where it was, and nothing of it is left at the other host."""
        assert self.here.state() == "running"
        until(lambda: not self.there.state(), "the other host has ended what came in")

    def end(self) -> None:
        """End the domain everywhere."""
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        for host in (self.lab.a, self.lab.b):
            host.clean()

    def virsh_migrate(self, *options: str, **more: Any) -> Trip:
        """Move it with virsh."""
        return self.move(["virsh", "migrate", "--live", "--p2p", DOMAIN, self.there.uri, *options], **more)

    def pagethrift_migrate(self, *options: str, **more: Any) -> Trip:
        """Move it with pagethrift."""
        command = [*PAGETHRIFT, "libvirt", "migrate", DOMAIN, self.there.uri, "--json", *options]
        return self.move(command, **more)

    def move(
        self,
        command: Sequence[str],
        during: Callable[[subprocess.Popen[str]], object] | None = None,
        compare: bool = False,
    ) -> Trip:
        """Run a command on the host that has the guest, and see what becomes of the guest.

        ``during`` is called once the command runs. ``compare``: RAM of both ends is compared, so the command
        must leave the guest paused.
        """
        here, there, source = self.here, self.there, self.monitor
        arrival = _Arrival(there)
        before = self.lab.network.bytes_sent(back=here is self.lab.b)
        seen, began_s = len(source.events), time.monotonic()
        process = subprocess.Popen(
            here.command(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        frozen = _Freezer(here, source, seen) if compare else None
        try:
            if during is not None:
                during(process)
            output, errors = process.communicate(timeout=END_S)
        finally:
            if process.poll() is None:
                for each in psutil.Process(process.pid).children(recursive=True):
                    each.kill()
                process.kill()
                process.communicate()
        trip = Trip(
            code=process.returncode,
            output=output,
            errors=errors.strip(),
            took_s=time.monotonic() - began_s,
            link_bytes=self.lab.network.bytes_sent(back=here is self.lab.b) - before,
            passes=sum(event.name == "MIGRATION_PASS" for event in source.events[seen:]),
            lines=[json.loads(line) for line in output.splitlines() if line.startswith("{")],
        )
        # A libvirt that has lost the other one ends the incoming domain a moment later.
        moved = there.state() in ("running", "paused") and here.state() not in ("running", "paused")
        if not moved:
            if frozen is not None:
                frozen.give_up()
            arrival.give_up()
            return trip
        destination = arrival.monitor()
        stops = [event.qemu_s for event in source.events[seen:] if event.name == "STOP"]
        if stops and not compare:
            trip.downtime_s = destination.event("RESUME", 10.0).qemu_s - stops[-1]
        if frozen is not None:
            trip.ram = Dumps(frozen.dump(), dump(there, destination))
            there.virsh("resume", DOMAIN)
        source.close()
        self.here, self._monitor = there, destination
        return trip

    def _boot(self) -> str:
        """Return the lines of the domain's XML that say what it boots."""
        if not self._exact:
            image = self.lab.image
            return LINUX_BOOT.format(
                kernel=image.kernel.name, initrd=image.initramfs.name, activity=self._activity
            )
        for host in (self.lab.a, self.lab.b):
            EXACT.write(host.path("/run/images/exact"))
        return EXACT_BOOT

    def _is_ready(self) -> bool:
        if self._exact:
            return dump(self.here, self.monitor, STATUS, len(READY_MAGIC)) == READY_MAGIC
        return READY_MARKER in self.here.path("/run/guest/serial").read_text(errors="replace")


class _Arrival:
    """Connects to the destination's second monitor as soon as that QEMU has made it."""

    def __init__(self, host: LibvirtHost) -> None:
        self._found: list[Qmp] = []
        self._given_up = False
        self._path = host.path("/run/guest/monitor")
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._thread = threading.Thread(target=self._connect, daemon=True)
        self._thread.start()

    def monitor(self) -> Qmp:
        self._thread.join(10.0)
        return self._found[0]

    def give_up(self) -> None:
        self._given_up = True
        self._thread.join(10.0)
        for each in self._found:
            each.close()

    def _connect(self) -> None:
        while not self._given_up and not self._found:
            with contextlib.suppress(Exception):  # no socket yet, or no QEMU behind it any more
                self._found.append(Qmp(self._path, timeout_s=1.0))


class _Freezer:
    """Stops the source's libvirtd when QEMU is through, because it ends that QEMU at once; dumps its RAM."""

    def __init__(self, host: LibvirtHost, source: Qmp, seen: int) -> None:
        self._host, self._source, self._seen = host, source, seen
        self._dumps: list[bytes] = []
        self._given_up = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def dump(self) -> bytes:
        self._thread.join(10.0)
        return self._dumps[0]

    def give_up(self) -> None:
        self._given_up = True
        self._thread.join(10.0)

    def _work(self) -> None:
        deadline_s = time.monotonic() + END_S
        while time.monotonic() < deadline_s and not self._given_up:
            if any(
                event.name == "MIGRATION" and event.data["status"] == "completed"
                for event in self._source.events[self._seen :]
            ):
                with self._host.libvirtd_stopped():
                    self._dumps.append(dump(self._host, self._source))
                return
            time.sleep(0.002)


def dump(host: LibvirtHost, monitor: Qmp, address: int = 0, size: int = MEMORY_BYTES) -> bytes:
    """Return a guest's RAM, or a part of it."""
    monitor.execute("pmemsave", val=address, size=size, filename="/run/guest/ram", timeout_s=60)
    path = host.path("/run/guest/ram")
    data = path.read_bytes()
    path.unlink()
    return data


def relay_of(process: subprocess.Popen[str]) -> psutil.Process:
    """Return the relay that a pagethrift has started, waiting for it."""

    def find() -> psutil.Process | None:
        for each in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "relay" in each.cmdline():
                    return each
        return None

    found = until(find, "pagethrift has started its relay")
    assert isinstance(found, psutil.Process)
    return found


class RelayAlone:
    """``pagethrift relay`` on the guest's host, as an operator starts it."""

    def __init__(self, guest: Guest, port: int, *more: str) -> None:
        near, far = f"127.0.0.1:{port}", f"{guest.there.host.link_address}:{port}"
        self.uri = f"tcp://{near}"
        self._lines: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            guest.here.command([*PAGETHRIFT, "relay", "--listen", near, "--connect", far, "--json", *more]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()
        until(lambda: self._lines, "the relay listens", 60.0)

    @property
    def status(self) -> dict[str, Any]:
        """Its last status."""
        return next(line for line in reversed(self._lines) if line["type"] == "status")

    def end(self) -> dict[str, Any] | None:
        """Wait for its end; return the error it ended with."""
        assert self._process.stdin is not None
        until(lambda: self._lines[-1]["type"] == "end", "the relay ends", 10.0)
        self._process.stdin.close()
        self._process.wait(10.0)
        error: dict[str, Any] | None = self._lines[-1]["error"]
        return error

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(json.loads(line))


__all__ = ["DOMAIN", "PAGETHRIFT", "Guest", "RelayAlone", "Trip", "relay_of"]

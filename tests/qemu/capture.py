"""Record small real migration streams for tests/golden; run by hand from the project's root.

    python -m tests.qemu.capture [NAME ...]

Each capture is tests/golden/NAME.xz, the stream as the source sent it, and NAME.json: what
was started, and the SHA-256 of the source's stopped RAM. RAM address is the offset in pc.ram;
``ram_low_sha256`` covers [0, 0xA0000), ``ram_high_sha256`` [1 MiB, ram_bytes). The VGA and BIOS
window between them is not plain RAM in a dump. Every capture is replayed into a real
destination and compared before it is written.

qboot instead of SeaBIOS: 64 KiB instead of 256 KiB of firmware, 20 kB compressed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pagethrift.lab.guest.packages import QemuSeries
from tests.qemu.machines import HOLE, Machine, QemuLike, begin, destination, find_qemu, finish, source
from tests.qemu.tiny import MIB, PAGE_BYTES, Pattern, Region, TinyGuest

GOLDEN = Path(__file__).parent.parent / "golden"
ROUNDS = 6
FIRMWARE = ("-bios", "qboot.rom")
DISK = ("-blockdev", "driver=null-co,node-name=disk0,size=1048576,read-zeroes=on")


class TooFewRoundsError(Exception):
    """The guest happened to be clean for a moment, so the migration ended by itself."""


@dataclass(frozen=True, slots=True)
class Capture:
    """One stream to record."""

    name: str
    series: QemuSeries
    machine: str
    ram_bytes: int = 8 * MIB
    capabilities: dict[str, bool] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    extra: tuple[str, ...] = ()


XBZRLE = {"xbzrle": True}
CAPTURES = (
    Capture("qemu-7.2-pc", "7.2", "pc"),
    Capture("qemu-7.2-q35-xbzrle", "7.2", "q35", capabilities=XBZRLE),
    Capture("qemu-10.0-pc", "10.0", "pc"),
    Capture("qemu-10.0-q35", "10.0", "q35"),
    Capture("qemu-10.0-pc-xbzrle", "10.0", "pc", capabilities=XBZRLE),
    Capture("qemu-10.0-q35-bitmap", "10.0", "q35", capabilities={"dirty-bitmaps": True}, extra=DISK),
    Capture("qemu-11.1-q35", "11.1", "q35"),
    Capture("qemu-10.0-pc-allpages", "10.0", "pc", 4 * MIB, parameters={"zero-page-detection": "none"}),
)


def guest() -> TinyGuest:
    """Return the guest of all captures: every pattern, few random bytes, so that it compresses."""
    start = 2 * MIB
    rows = []
    for pattern, pages, words, writes, fill in (
        (Pattern.SILENT, 1, 8, 1, True),
        (Pattern.FLIP, 16, 24, 1, False),
        (Pattern.COUNTER, 24, 1, 1, False),
        (Pattern.RANDOM_WORDS, 16, 1, 12, False),
        (Pattern.RANDOM_PAGES, 8, 16, 1, False),
        (Pattern.ZEROING, 16, 24, 1, False),
        (Pattern.STATIC, 1, 1, 1, True),
    ):
        rows.append(Region(pattern, start, pages, words, writes, fill))
        start += (pages + 3) * PAGE_BYTES
    return TinyGuest(tuple(rows), writes_per_s=3000)


def ram_digests(ram: bytes) -> dict[str, str]:
    """Return the two digests of a RAM dump, named as in the JSON."""
    return {
        "ram_low_sha256": hashlib.sha256(ram[: HOLE.start]).hexdigest(),
        "ram_high_sha256": hashlib.sha256(ram[HOLE.stop :]).hexdigest(),
    }


def record(capture: Capture, binary: QemuLike, directory: Path) -> tuple[bytes, dict[str, Any]]:
    """Migrate into a file over ROUNDS rounds; return the stream and its facts."""
    path = directory / "stream"
    slow = {"max-bandwidth": 2_000_000, "downtime-limit": 1, **capture.parameters}
    extra = (*FIRMWARE, *capture.extra)
    with source(binary, guest(), directory, capture.machine, capture.ram_bytes, extra) as machine:
        if "dirty-bitmaps" in capture.capabilities:
            _add_bitmap(machine)
        machine.wait_sweeps(2)
        begin(machine, None, directory, f"exec:cat > {path}", None, capture.capabilities, slow)
        _wait_rounds(machine)
        machine.qmp.command("migrate-set-parameters", {"downtime-limit": 5000, "max-bandwidth": 10**9})
        info = finish(machine, None)
        facts = {
            "series": capture.series,
            "qemu_version": "{major}.{minor}.{micro}".format(**machine.qmp.execute("query-version")["qemu"]),
            "machine": capture.machine,
            "ram_bytes": capture.ram_bytes,
            "arguments": list(extra),
            "capabilities": capture.capabilities,
            "parameters": capture.parameters,
            "rounds": info["ram"]["dirty-sync-count"],
            "non_zero_records": info["ram"]["normal"],
            "zero_records": info["ram"]["duplicate"],
            "xbzrle_records": info.get("xbzrle-cache", {}).get("pages", 0),
            **ram_digests(machine.dump_ram()),
        }
    stream = path.read_bytes()
    facts |= {"stream_bytes": len(stream), "stream_sha256": hashlib.sha256(stream).hexdigest()}
    return stream, facts


def replay(stream: bytes, facts: dict[str, Any], binary: QemuLike, directory: Path) -> dict[str, str]:
    """Load a stream into a real destination; return its RAM's digests."""
    path = directory / "replayed"
    path.write_bytes(stream)
    arguments = (directory, facts["machine"], facts["ram_bytes"], facts["arguments"])
    with destination(binary, guest(), *arguments) as machine:
        rows = [{"capability": name, "state": on} for name, on in facts["capabilities"].items()]
        if rows:
            machine.qmp.execute("migrate-set-capabilities", capabilities=rows)
        machine.qmp.execute("migrate-incoming", uri=f"exec:cat {path}")
        finish(machine, None, 20)
        return ram_digests(machine.dump_ram())


def read(name: str) -> tuple[bytes, dict[str, Any]]:
    """Return a committed capture and its facts."""
    facts = json.loads((GOLDEN / f"{name}.json").read_text())
    return lzma.decompress((GOLDEN / f"{name}.xz").read_bytes()), facts


def main(names: list[str]) -> None:
    """Record the captures named, all by default."""
    GOLDEN.mkdir(exist_ok=True)
    for capture in CAPTURES:
        if names and capture.name not in names:
            continue
        binary = find_qemu(capture.series)
        if binary is None:
            sys.exit(f"no QEMU {capture.series} here")
        with tempfile.TemporaryDirectory(prefix="ptq") as name:
            directory = Path(name)
            stream, facts = _record_patiently(capture, binary, directory)
            loaded = replay(stream, facts, binary, directory)
        if any(facts[key] != digest for key, digest in loaded.items()):
            sys.exit(f"{capture.name}: a plain destination ends with other RAM; record it again")
        packed = lzma.compress(stream, preset=9 | lzma.PRESET_EXTREME)
        (GOLDEN / f"{capture.name}.xz").write_bytes(packed)
        (GOLDEN / f"{capture.name}.json").write_text(json.dumps(facts, indent=1) + "\n")
        print(capture.name, len(stream), "->", len(packed), "bytes;", facts["rounds"], "rounds")


def _record_patiently(capture: Capture, binary: QemuLike, directory: Path) -> tuple[bytes, dict[str, Any]]:
    for _ in range(9):
        with contextlib.suppress(TooFewRoundsError):
            return record(capture, binary, directory)
    return record(capture, binary, directory)


def _add_bitmap(machine: Machine) -> None:
    machine.qmp.execute("block-dirty-bitmap-add", node="disk0", name="bitmap0")


def _wait_rounds(machine: Machine) -> None:
    deadline_s = time.monotonic() + 60
    while True:
        info = machine.qmp.execute("query-migrate")
        if info.get("ram", {}).get("dirty-sync-count", 0) >= ROUNDS:
            return
        if info.get("status") not in ("setup", "active") or time.monotonic() > deadline_s:
            raise TooFewRoundsError(f"the migration ended before round {ROUNDS}: {info}")
        time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1:])

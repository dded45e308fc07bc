"""``python -m scripts.studies.lost_marks``: migrations in which QEMU does not send a page's last version.

    python -m scripts.studies.lost_marks --migrations 20 --out docs/results/lost-marks.json
    python -m scripts.studies.lost_marks docs/results/lost-marks.json

A guest migrates from QEMU to QEMU in two ways. Directly: through a pipe and `tee`, with nothing of ours
between; a downtime limit of 1 ms holds QEMU for a number of passes. Under libvirt: `virsh migrate` through
`pagethrift libvirt attach`, with a tee on both sides of the relay (tests/libvirt; needs root). Three RAMs are
compared: the stopped source's, the destination's, and what our own reader makes of the stream that the source
sent. Rows that FILE has already are not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scripts.bench import machine, output
from scripts.studies.rows import line
from tests.libvirt.guest import EXACT, LINUX_WORDS, MEMORY_BYTES, Guest
from tests.libvirt.hosts import libvirt_lab, until
from tests.libvirt.overheard import overheard_migration
from tests.qemu.machines import Machine, begin, differing_pages, finish
from tests.qemu.tiny import TinyGuest

from pagethrift.lab.guest.image import READY_MARKER, guest_image
from pagethrift.lab.guest.libvirt import LibvirtSeries
from pagethrift.lab.guest.packages import QemuBinary, QemuSeries, qemu
from pagethrift.lab.hosts.run_folder import run_folder
from pagethrift.stream.image import image

LINK_BPS = 25_000_000
FOLDER_BYTES = 6 * MEMORY_BYTES
"""a stream of many passes, and a dump of RAM"""
PIECE_BYTES = 1 << 22
TIMEOUT_S = 120.0
PAUSE_S = 1.0
"""between two migrations, for the guest to write"""
DIRECTLY = "direct"
GUESTS: dict[str, TinyGuest | None] = {"Linux": None, "bare metal": EXACT}
DIRECT: tuple[tuple[QemuSeries, str], ...] = (("7.2", "Linux"), ("7.2", "bare metal"), ("10.0", "Linux"))
UNDER_LIBVIRT: tuple[tuple[LibvirtSeries, QemuSeries], ...] = (("9.0", "7.2"),)
HEADINGS = (
    "QEMU", "guest", "way", "migrations", "passes of each", "source and destination differ", "in pages",
    "source and stream differ", "in pages", "stream and destination differ",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Compared:
    """One migration; pages are addresses."""

    passes: int
    arrived_otherwise: list[int]
    """pages that source and destination have otherwise"""
    sent_otherwise: list[int]
    """pages that the source has otherwise than it sent them last"""
    loaded_otherwise: list[int]
    """pages that the destination has otherwise than the source sent them"""


@dataclass(frozen=True, slots=True)
class Case:
    """The migrations of one guest from one QEMU to another of the same version."""

    qemu: str
    guest: str
    way: str
    migrations: list[Compared] = field(default_factory=list)

    def add(self, compared: Compared) -> None:
        """Keep one more, and say so on standard error."""
        self.migrations.append(compared)
        print(
            f"QEMU {self.qemu}, {self.guest}, {self.way}, {len(self.migrations)}: {compared.passes} passes,"
            f" {len(compared.arrived_otherwise)} pages differ",
            file=sys.stderr,
            flush=True,
        )


def direct(series: QemuSeries, guest: str, migrations: int, passes: int, folder: Path) -> Case:
    """Migrate one guest to one fresh destination after the other; it runs on at the source each time.

    Raises LabError, RuntimeError, TimeoutError.
    """
    binary, boot = qemu(series), _boot(GUESTS[guest], folder)
    case = Case(binary.version, guest, DIRECTLY)
    with _started(binary, boot, folder, "a") as source:
        if GUESTS[guest] is None:
            console = folder / "a.serial"
            until(
                lambda: READY_MARKER in console.read_text(errors="replace"), "the guest is ready", TIMEOUT_S
            )
        else:
            source.wait_sweeps(1)
        for _ in range(migrations):
            with _started(binary, [*boot, "-incoming", "defer", "-S"], folder, "b") as destination:
                case.add(_migrate(source, destination, passes, folder))
            source.qmp.execute("cont")
            time.sleep(PAUSE_S)
    return case


def under_libvirt(libvirt: LibvirtSeries, series: QemuSeries, migrations: int) -> Case:
    """Migrate the guest of tests/libvirt to and fro; it boots anew when it arrived otherwise."""
    case = Case(qemu(series).version, "Linux", _way(libvirt))
    with libvirt_lab(libvirt, series, LINK_BPS) as lab:
        guest = Guest(lab)
        for _ in range(migrations):
            guest.run()
            time.sleep(PAUSE_S)
            with run_folder(FOLDER_BYTES) as folder:
                heard = overheard_migration(guest, folder)
            arrived_otherwise = heard.trip.differing
            case.add(Compared(heard.trip.passes, arrived_otherwise, heard.not_sent, heard.loaded_otherwise))
            if arrived_otherwise:
                guest.end()
        guest.end()
    return case


def _migrate(source: Machine, destination: Machine, passes: int, folder: Path) -> Compared:
    stream, pipe = folder / "stream", folder / "pipe"
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    begin(
        source, destination, folder, f"exec:tee {stream} >{pipe}", f"exec:cat {pipe}",
        {"return-path": False}, {"max-bandwidth": LINK_BPS, "downtime-limit": 1},
    )  # fmt: skip
    # one that is over before found nothing left to send for a moment
    until(lambda: _passes(source) >= passes or not _goes_on(source), f"pass {passes}", TIMEOUT_S)
    source.qmp.command("migrate-set-parameters", {"max-bandwidth": 10**9, "downtime-limit": 60_000})
    done = int(finish(source, destination, TIMEOUT_S)["ram"]["dirty-sync-count"])
    with stream.open("rb") as pieces:
        sent = image(iter(lambda: pieces.read(PIECE_BYTES), b"")).block("pc.ram").tobytes()
    stream.unlink()
    left, right = source.dump_ram(), destination.dump_ram()
    return Compared(
        done, differing_pages(left, right), differing_pages(sent, left), differing_pages(sent, right)
    )


def _passes(source: Machine) -> int:
    return int(source.qmp.execute("query-migrate").get("ram", {}).get("dirty-sync-count", 0))


def _goes_on(source: Machine) -> bool:
    return source.qmp.execute("query-migrate")["status"] in ("setup", "active")


def _boot(guest: TinyGuest | None, folder: Path) -> list[str]:
    if guest is not None:
        return ["-kernel", str(guest.write(folder / "bare-metal"))]
    files = guest_image()
    return ["-kernel", str(files.kernel), "-initrd", str(files.initramfs), "-append", LINUX_WORDS]


@contextmanager
def _started(binary: QemuBinary, boot: Sequence[str], folder: Path, name: str) -> Iterator[Machine]:
    text = f"-machine pc -accel tcg -cpu qemu64 -m {MEMORY_BYTES >> 20}M -nodefaults -display none -no-reboot"
    arguments = [*text.split(), "-serial", f"file:{folder / name}.serial", *boot]
    with Machine(binary, arguments, folder, MEMORY_BYTES, name) as started:
        yield started


def markdown(document: dict[str, Any]) -> str:
    """Return a result file as a table, a row a case."""
    lines = [line(HEADINGS), line(["---"] * 3 + ["---:"] * (len(HEADINGS) - 3))]
    for case in document["cases"]:
        every = case["migrations"]
        passes = [each["passes"] for each in every]
        spread = f"{statistics.median(passes):.0f} ({min(passes)} to {max(passes)})"
        counts = [
            _counted(every, name) for name in ("arrived_otherwise", "sent_otherwise", "loaded_otherwise")
        ]
        cells = [*counts[0], *counts[1], counts[2][0]]
        lines.append(line([case["qemu"], case["guest"], case["way"], str(len(every)), spread, *cells]))
    return "\n".join(lines) + "\n"


def _counted(migrations: list[dict[str, Any]], name: str) -> tuple[str, str]:
    counts = [len(each[name]) for each in migrations]
    return str(sum(count > 0 for count in counts)), str(sum(counts))


def main(arguments: list[str]) -> None:
    """Measure and write, or print the table of what was written."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.studies.lost_marks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("result", nargs="?", type=Path, metavar="FILE", help="print the table of this result")
    parser.add_argument("--migrations", type=int, default=20, help="in each row (default 20)")
    parser.add_argument("--passes", type=int, default=25, help="until QEMU is let go, directly (default 25)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="e.g. docs/results/lost-marks.json")
    chosen = parser.parse_args(arguments)
    if chosen.result is not None:
        sys.stdout.write(markdown(json.loads(chosen.result.read_text())))
        return
    kept: list[dict[str, Any]] = []
    if chosen.out and chosen.out.exists():
        kept = json.loads(chosen.out.read_text())["cases"]
    document = {
        "command": f"python -m scripts.studies.lost_marks {' '.join(arguments)}",
        "machine": machine.facts(),
        "cases": kept,
    }
    for case in _missing(kept, chosen.migrations, chosen.passes):
        kept.append(asdict(case))
        if chosen.out:
            output.write_json(chosen.out, document)
    sys.stdout.write(markdown(document))


def _missing(kept: list[dict[str, Any]], migrations: int, passes: int) -> Iterator[Case]:
    """Measure the rows that a result does not have yet."""
    there = {(case["qemu"], case["guest"], case["way"]) for case in kept}
    for series, guest in DIRECT:
        if (qemu(series).version, guest, DIRECTLY) not in there:
            with run_folder(FOLDER_BYTES) as folder:
                yield direct(series, guest, migrations, passes, folder)
    for libvirt, series in UNDER_LIBVIRT:
        if (qemu(series).version, "Linux", _way(libvirt)) not in there:
            yield under_libvirt(libvirt, series, migrations)


def _way(libvirt: str) -> str:
    return f"libvirt {libvirt}, through pagethrift"


if __name__ == "__main__":
    main(sys.argv[1:])

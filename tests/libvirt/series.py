"""``python -m tests.libvirt.series``: a domain goes back and forth between two libvirtd, by each way in turn.

Every round takes each way once, forwards in one round and backwards in the next, so that a slow minute of
this machine meets all of them. A last round compares RAM byte by byte. The file is the evidence of the tables
in docs/libvirt.md (``python -m scripts.documents``).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pagethrift.lab.guest.libvirt import LibvirtSeries
from pagethrift.whole_file import write_text
from tests.libvirt.conftest import LINK_BPS, PAIRS
from tests.libvirt.guest import DOMAIN, RANDOM_WRITER, Guest
from tests.libvirt.hosts import libvirt_lab
from tests.libvirt.ways import QEMU_DECIDES, WAYS

LIMIT_S = 0.3


def trip_of(guest: Guest, way: str, compare: bool) -> dict[str, Any]:
    """Move the guest by a way and return what is kept of it."""
    more: dict[str, Any] = {"compare": True} if compare else {}
    options = ["--suspend"] if compare else []
    if way not in (*QEMU_DECIDES, "attach"):
        options += ["--downtime-limit", f"{LIMIT_S}s"]
    guest.run(exact=compare)
    guest.here.virsh("migrate-setmaxdowntime", DOMAIN, f"{LIMIT_S * 1000:.0f}")
    trip, ours = WAYS[way](guest, *options, **more)
    if trip.code:
        return {"way": way, "error": trip.errors or trip.output}
    return {
        "way": way,
        "command_s": round(trip.took_s, 3),
        "link_bytes": trip.link_bytes,
        "downtime_s": trip.downtime_s,
        "passes": trip.passes,
        "differing_pages": None if trip.ram is None else len(trip.differing),
        "virsh": _numbers(guest),
        "ours": {name: ours[name] for name in KEPT if name in ours},
    }


KEPT = (
    *("total_time_s", "downtime_s", "predicted_downtime_s", "transferred_bytes", "switchover_reason"),
    *("in_bytes", "out_bytes", "relay_cpu_s", "relay_peak_rss_bytes", "peak_rss_bytes"),
)


def _numbers(guest: Guest) -> dict[str, int]:
    """Return what libvirt itself counted, in its units: ms and bytes."""
    said = guest.here.run("virsh", "domjobinfo", DOMAIN, "--completed", "--rawstats").said
    found = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
    names = ("time_elapsed", "downtime", "memory_processed", "memory_iteration")
    return {name: int(found[name]) for name in names if name in found}


def _order(ways: Sequence[str], number: int) -> Sequence[str]:
    return ways if number % 2 == 0 else ways[::-1]


def series(which: LibvirtSeries, ways: Sequence[str], runs: int, out: Path) -> dict[str, Any]:
    """Run the rounds; the file is written anew after each trip."""
    document: dict[str, Any] = {
        "link_bps": LINK_BPS, "limit_s": LIMIT_S, "activity": RANDOM_WRITER, "began_unix_s": time.time(),
        "trips": [],
    }  # fmt: skip
    with libvirt_lab(which, PAIRS[which], LINK_BPS) as lab:
        document["versions"] = lab.versions
        guest = Guest(lab)
        for number in range(runs + 1):
            for way in _order(ways, number):
                if way == "parallel" and not lab.has_zstd:
                    continue
                found = trip_of(guest, way, compare=number == runs)
                document["trips"].append(found)
                write_text(out, json.dumps(document, indent=1) + "\n")
                what = found.get("error") or f"{found['command_s']:.1f} s, downtime {found['downtime_s']}"
                print(f"{number + 1}/{runs + 1} {way}: {what}", file=sys.stderr, flush=True)
        guest.end()
    return document


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a series."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.libvirt.series",
        description="Move a domain between two libvirtd on this machine by every way in turn (as root).",
        epilog="example: python -m tests.libvirt.series --runs 5 --out docs/results/libvirt-11.3.json",
    )
    parser.add_argument("--libvirt", choices=list(PAIRS), default="11.3")
    parser.add_argument("--runs", type=int, default=5, help="by each way; once more with RAM compared")
    parser.add_argument("--ways", default=",".join(WAYS), help="of them, joined by commas")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args(arguments)
    ways = asked.ways.split(",")
    if unknown := [way for way in ways if way not in WAYS]:
        parser.error(f"no way is called {unknown[0]}; there are {', '.join(WAYS)}")
    series(asked.libvirt, ways, asked.runs, asked.out)


if __name__ == "__main__":
    main()

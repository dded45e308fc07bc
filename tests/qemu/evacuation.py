"""``python -m tests.qemu.evacuation``: small guests leave a host over a shaped link, by plan and as others.

Two network namespaces with a shaped link between them. Each run starts all guests anew and lets
`pagethrift evacuate` empty the host: with its own plan, and with each baseline (``--order``), which the same
program carries out. The orders take turns at being first. The file is the evidence of the table in
docs/evacuation.md (``python -m scripts.studies.evacuation FILE``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pagethrift.evacuation.planner import BASELINES, PLANNED
from pagethrift.lab.guest.packages import QemuSeries, qemu
from pagethrift.lab.hosts.network import TwoHosts
from pagethrift.whole_file import write_text
from tests.qemu.leavers import Leaver, leavers, write_plan
from tests.qemu.machines import InNamespace, QemuLike
from tests.qemu.tiny import MIB, Pattern, Region, TinyGuest, content

LINK_BPS = 12_500_000
PAYLOAD_BPS = int(LINK_BPS * 0.95)
"""what is left for TCP's payload"""
RAM_BYTES = 96 * MIB
LIMIT_S = 0.3
START_S = 2.5
"""until a migration's first byte is on the link, on two processors that emulate six guests"""
PORT = 49160
END_S = 600.0
STATIC_AT, BUSY_AT = 4 * MIB, 64 * MIB
STATIC_PAGES = 1024


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of guest."""

    static_mib: int
    """memory that is filled once"""
    busy_pages: int
    """memory that is rewritten at random"""
    writes_per_s: int
    """pages rewritten in a second"""

    def guest(self) -> TinyGuest:
        """Return the guest."""
        regions = [Region(Pattern.STATIC, STATIC_AT, self.static_mib * MIB // 4096)]
        regions.append(Region(Pattern.RANDOM_PAGES, BUSY_AT, self.busy_pages, writes=64))
        return TinyGuest(tuple(regions), writes_per_s=self.writes_per_s)

    @property
    def memory_bytes(self) -> int:
        """What is not zero."""
        return self.static_mib * MIB + self.busy_pages * 4096

    @property
    def dirty_bps(self) -> int:
        """What it rewrites in a second, each page counted as often as it is written."""
        return self.writes_per_s * 4096


KINDS = (
    Kind(48, 64, 20),
    Kind(8, 1024, 1200),
    Kind(32, 256, 200),
    Kind(8, 1024, 1500),
    Kind(16, 128, 100),
    Kind(24, 768, 900),
)
"""large and calm, small and busy, and between; more guests repeat them"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What all runs have in common."""

    guests: int
    deadline_s: float
    at_once: int
    forecasts: tuple[Path, ...]
    """of the guests, made by `pagethrift forecast`; empty: the plan states memory and dirty rate"""
    options: tuple[str, ...]


def forecast(binary: QemuLike, count: int, seconds: float, folder: Path) -> tuple[Path, ...]:
    """Watch every guest once, alone, and return the forecasts' files."""
    made = []
    for number in range(count):
        with contextlib.ExitStack() as stack:
            room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pe")))
            named = {f"g{number}": KINDS[number % len(KINDS)].guest()}
            link = f"unix:{room}/link"
            (each,) = stack.enter_context(leavers(binary, binary, named, room, lambda _: link, RAM_BYTES))  # noqa: B023
            assert isinstance(each.keys, dict)
            made.append(folder / f"{each.name}.json")
            argv = [
                sys.executable, "-m", "pagethrift", "forecast", "--qmp", each.keys["qmp"], "--curve",
                "--bandwidth", f"{LINK_BPS}B/s", "--downtime-limit", f"{LIMIT_S:g}s",
                "--seconds", f"{seconds:g}s", "--out", str(made[-1]),
            ]  # fmt: skip
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, timeout=END_S)
    return tuple(made)


def evacuated(binary: QemuLike, asked: Asked, order: str) -> dict[str, Any]:
    """Let all guests leave once; return what it took, every guest seen to run exactly once."""
    kinds = [KINDS[number % len(KINDS)] for number in range(asked.guests)]
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(TwoHosts(link_bps=LINK_BPS, back_bps=LINK_BPS))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pe")))
        near, far = InNamespace(binary, network.a.namespace), InNamespace(binary, network.b.namespace)
        named = {f"g{number}": each.guest() for number, each in enumerate(kinds)}
        listen = network.b.link_address
        there = stack.enter_context(
            leavers(near, far, named, folder, lambda number: f"{listen}:{PORT + number}", RAM_BYTES)
        )
        plan = _plan(folder / "plan.toml", there, kinds, asked)
        before, began_s = network.bytes_sent(), time.monotonic()
        argv = [
            "ip", "netns", "exec", network.a.namespace, sys.executable, "-m", "pagethrift", "evacuate",
            str(plan), "--order", order, "--out", str(folder / "out"), "--json",
        ]  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, timeout=END_S, check=False)
        took_s = time.monotonic() - began_s
        if done.returncode not in (0, 4):
            raise RuntimeError(f"{order}: exit code {done.returncode}: {done.stderr.strip()[-500:]}")
        record = json.loads((folder / "out/evacuation.json").read_text())
        for each, kind in zip(there, kinds, strict=True):
            _look(each, kind, record)
        return {
            "order": order, "exit_code": done.returncode, "wall_s": round(took_s, 2),
            "last_out_s": record["last_out_s"], "deadline_s": record["deadline_s"],
            "link_bytes": network.bytes_sent() - before,
            "guests": [
                {
                    name: each[name]
                    for name in (
                        "name", "stage", "began_s", "out_s", "in_time", "downtime_s", "within_limit", "bytes",
                    )
                }
                for each in record["guests"]
            ],
            "planned_last_out_s": record["planned"]["last_out_s"],
            "planned": [
                {name: each[name] for name in ("name", "out_s", "verdict")}
                for each in record["planned"]["guests"]
            ],
        }  # fmt: skip


def _look(each: Leaver, kind: Kind, record: Mapping[str, Any]) -> None:
    """Raise RuntimeError unless the guest runs at exactly one end, where the record says, with its memory."""
    stage = next(guest["stage"] for guest in record["guests"] if guest["name"] == each.name)
    running = tuple(state == "running" for state in each.states())
    if running != ((False, True) if stage == "out" else (True, False)):
        raise RuntimeError(f"{each.name}: {stage}, and the QEMUs say {each.states()}")
    machine = each.destination if stage == "out" else each.source
    pages = min(STATIC_PAGES, kind.static_mib * MIB // 4096)
    if machine.read(STATIC_AT, pages * 4096) != content(STATIC_AT, pages, 3).tobytes():
        raise RuntimeError(f"{each.name}: memory that nobody writes differs")


def _plan(path: Path, there: Sequence[Leaver], kinds: Sequence[Kind], asked: Asked) -> Path:
    head = {
        "bandwidth": f"{PAYLOAD_BPS}B/s", "deadline": f"{asked.deadline_s:g}s", "concurrency": asked.at_once,
        "downtime_limit": f"{LIMIT_S * 1000:g}ms", "start": f"{START_S:g}s",
    }  # fmt: skip
    for number, (each, kind) in enumerate(zip(there, kinds, strict=True)):
        assert isinstance(each.keys, dict)
        if asked.forecasts:
            each.keys.update(forecast=str(asked.forecasts[number]))
        else:
            each.keys.update(memory=f"{kind.memory_bytes}B", dirty_rate=f"{kind.dirty_bps}B/s")
        if asked.options:
            each.keys.update(options=list(asked.options))
        # what goes round and round must not keep a baseline's run from ending
        each.keys.update(give_up_after=f"{asked.deadline_s:g}s")
    return write_plan(path, there, head)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rounds."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.qemu.evacuation",
        description="Empty a host of small guests, by plan and by each baseline in turn (as root).",
        epilog="example: python -m tests.qemu.evacuation --guests 6 --runs 5 --out evacuation.json",
    )
    parser.add_argument("--guests", type=int, default=6)
    parser.add_argument("--runs", type=int, default=5, help="of each order, in turn")
    parser.add_argument("--deadline", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--at-once", type=int, default=None, help="default: as many as there are guests")
    parser.add_argument("--orders", default=",".join((PLANNED, *BASELINES)), help="with commas between")
    parser.add_argument(
        "--watch", type=float, default=0.0, metavar="SECONDS",
        help="plan by forecasts, for which each guest is watched so long, once; default: by stated rates",
    )  # fmt: skip
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        help="of migrate, for every guest; repeatable: --option=--plain",
    )
    parser.add_argument("--qemu", choices=get_args(QemuSeries), default="10.0")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    binary, orders = qemu(given.qemu), given.orders.split(",")
    made: tuple[Path, ...] = ()
    if given.watch:
        folder = given.out.with_suffix(".forecasts")
        folder.mkdir(parents=True, exist_ok=True)
        made = forecast(binary, given.guests, given.watch, folder.absolute())
    asked = Asked(given.guests, given.deadline, given.at_once or given.guests, made, tuple(given.option))
    document: dict[str, Any] = {
        "kind": "pagethrift-evacuation-series", "version": 1, "qemu": binary.version, "guests": asked.guests,
        "ram_bytes": RAM_BYTES, "link_bps": LINK_BPS, "limit_s": LIMIT_S, "deadline_s": asked.deadline_s,
        "at_once": asked.at_once, "watch_s": given.watch, "options": list(asked.options), "runs": [],
    }  # fmt: skip
    for number in range(given.runs):
        shift = number % len(orders)
        for order in orders[shift:] + orders[:shift]:
            found = evacuated(binary, asked, order)
            document["runs"].append({"round": number, **found})
            write_text(given.out, json.dumps(document, indent=1) + "\n")
            out = sum(each["stage"] == "out" for each in found["guests"])
            kept = sum(bool(each["within_limit"]) for each in found["guests"])
            last_s, sent = found["last_out_s"] or 0.0, found["link_bytes"]
            print(
                f"{number + 1}/{given.runs} {order}: {out} of {asked.guests} out, last after {last_s:.1f} s,"
                f" {kept} within the limit, {sent / 1e6:.0f} MB",
                file=sys.stderr, flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()

"""``python -m tests.qemu.crowd``: several guests leave a host at once, plainly and through one service.

Tiny guests between two network namespaces with a shaped link. QEMU decides about each switchover, as it does
where nobody steers. Each round goes plainly and through the service, in turn; RAM of each guest is compared
byte by byte. The file is the evidence of the table in docs/operating.md (``python -m scripts.documents``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import psutil

from pagethrift.lab.guest.packages import QemuSeries, qemu
from pagethrift.lab.hosts.network import TwoHosts
from pagethrift.whole_file import write_text
from tests.qemu.machines import InNamespace, Machine, QemuLike, begin, destination, differing_pages, source
from tests.qemu.tiny import MIB, Pattern, Region, TinyGuest
from tests.services import ServiceProcess

LINK_BPS = 25_000_000
RAM_BYTES = 64 * MIB
LIMIT_MS = 300
GUEST = TinyGuest(
    (
        Region(Pattern.SILENT, 2 * MIB, 256),
        Region(Pattern.COUNTER, 4 * MIB, 512),
        Region(Pattern.RANDOM_WORDS, 6 * MIB, 1024, writes=256),
        Region(Pattern.RANDOM_PAGES, 10 * MIB, 512, writes=8),
        Region(Pattern.STATIC, 12 * MIB, 8192),
    ),
    writes_per_s=1000,
)
PORT = 49160
END_S = 180.0


def together(binary: QemuLike, count: int, thinned: bool) -> dict[str, Any]:
    """Let ``count`` guests leave at once and return what it took; times in seconds, RAM compared."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        network = enter(TwoHosts(link_bps=LINK_BPS, back_bps=LINK_BPS))
        folder = Path(enter(tempfile.TemporaryDirectory(prefix="pc")))
        near, far = InNamespace(binary, network.a.namespace), InNamespace(binary, network.b.namespace)
        sources = [enter(source(near, GUEST, folder, ram_bytes=RAM_BYTES)) for _ in range(count)]
        ends = [enter(destination(far, GUEST, folder, ram_bytes=RAM_BYTES)) for _ in range(count)]
        for each in sources:
            each.wait_ready(60.0)
        way = f"127.77.0.2:{PORT}-{PORT + count - 1}={network.b.link_address}"
        prefix = ("ip", "netns", "exec", network.a.namespace)
        service = enter(ServiceProcess("--map", way, prefix=prefix)) if thinned else None
        before, began_s = network.bytes_sent(), time.monotonic()
        for number, (a, b) in enumerate(zip(sources, ends, strict=True)):
            listen = f"tcp:{network.b.link_address}:{PORT + number}"
            to = f"tcp:127.77.0.2:{PORT + number}" if thinned else listen
            begin(a, b, folder, to, listen, parameters={"downtime-limit": LIMIT_MS, "max-bandwidth": 0})
        memory = _Memory(service)
        took = _wait(sources, ends, began_s, memory)
        found: dict[str, Any] = {
            "thinned": thinned, "took_s": took, "link_bytes": network.bytes_sent() - before,
            "downtime_ms": [each.qmp.execute("query-migrate")["downtime"] for each in sources],
            "differing_pages": [
                len(differing_pages(a.dump_ram(), b.dump_ram())) for a, b in zip(sources, ends, strict=True)
            ],
        }  # fmt: skip
        if service is not None:
            said = service.wait_for_ends(count)
            assert [end["error"] for end in said] == [None] * count
            found["relays"] = [
                {name: end[name] for name in ("in_bytes", "out_bytes", "peak_rss_bytes")} for end in said
            ]
            found["service_peak_bytes"] = memory.service_bytes
            found["most_together_bytes"] = memory.together_bytes
        return found


class _Memory:
    """The most that a service and its relays had at one moment (proportional set size)."""

    def __init__(self, service: ServiceProcess | None) -> None:
        self._process = None if service is None else psutil.Process(service.process.pid)
        self.service_bytes = 0
        self.together_bytes = 0

    def look(self) -> None:
        if self._process is None:
            return
        sizes = []
        for each in (self._process, *self._process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                sizes.append(each.memory_full_info().pss)
        self.service_bytes = max(self.service_bytes, *sizes[:1])
        self.together_bytes = max(self.together_bytes, sum(sizes))


def _wait(
    sources: Sequence[Machine], ends: Sequence[Machine], began_s: float, memory: _Memory
) -> list[float]:
    took = [0.0] * len(sources)
    while not all(took):
        if time.monotonic() - began_s > END_S:
            raise TimeoutError(f"not through after {END_S:g} s: {took}")
        for number, (a, b) in enumerate(zip(sources, ends, strict=True)):
            states = [each.qmp.execute("query-migrate").get("status") for each in (a, b)]
            if "failed" in states:
                raise RuntimeError(f"migration {number} failed: {a.qmp.execute('query-migrate')}")
            if not took[number] and states == ["completed", "completed"]:
                took[number] = round(time.monotonic() - began_s, 3)
        memory.look()
        time.sleep(0.1)
    return took


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rounds."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.qemu.crowd",
        description="Let several guests leave a host at once, plainly and through one service (as root).",
        epilog="example: python -m tests.qemu.crowd --guests 8 --runs 5 --out docs/results/crowd.json",
    )
    parser.add_argument("--guests", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5, help="of each kind, in turn")
    parser.add_argument("--qemu", choices=get_args(QemuSeries), default="10.0")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args(arguments)
    binary = qemu(asked.qemu)
    document: dict[str, Any] = {
        "qemu": binary.version, "guests": asked.guests, "ram_bytes": RAM_BYTES, "link_bps": LINK_BPS,
        "limit_ms": LIMIT_MS, "rounds": [],
    }  # fmt: skip
    for number in range(asked.runs):
        for thinned in (False, True) if number % 2 == 0 else (True, False):
            found = together(binary, asked.guests, thinned)
            document["rounds"].append(found)
            write_text(asked.out, json.dumps(document, indent=1) + "\n")
            name = "through the service" if thinned else "plainly"
            print(
                f"{number + 1}/{asked.runs} {name}: last after {max(found['took_s']):.1f} s,"
                f" {found['link_bytes'] / 1e6:.0f} MB",
                file=sys.stderr, flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()

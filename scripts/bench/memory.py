"""``python -m scripts.bench.memory``: peak RSS of ``pagethrift thin`` against the guest's size.

Guests of 1 to 64 GiB: some random pages, ZERO for all others. The stream is made while it
is read and never held. ``--imports`` says where the constant comes from.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scripts.bench import machine, output
from scripts.bench.mixes import SECTION_PAGES, Pieces, records, zero_records
from scripts.bench.pipes import POLL_S

from pagethrift.content.signature import SUBPAGE_BYTES
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.process_memory import memory_bytes

THIN = str(Path(sys.executable).parent / "pagethrift")
SIZES_GIB = (1, 4, 16, 64)
MAX_DATA_PAGES = 131_072
"""512 MiB of random pages at most"""
ROW_BYTES = PAGE_BYTES // SUBPAGE_BYTES * 8
STATE_BYTES = 3
"""a page's ledger state, its arrivals and its history"""
LEDGER_TARGET = 0.032
CONSTANT_TARGET_BYTES = 96 << 20
SETTLE_S = 0.2

STEPS = (
    "sys",
    "numpy",
    "pagethrift.kernels",
    "typer",
    "rich.console",
    "pagethrift.strategies.table",
    "pagethrift.engine.thinner",
    "pagethrift.cli.thin",
    "pagethrift.engine.warmup",
)
_WARM = "from pagethrift.engine.warmup import warm_up; warm_up()"
_PROBE = """
import importlib, re, sys
def show(step):
    text = open("/proc/self/status").read()
    print(step, *[re.search(rf"{key}:\\s+(\\d+)", text)[1] for key in ("VmRSS", "RssAnon", "RssFile")])
for step in sys.argv[1:]:
    importlib.import_module(step)
    show(step)
import pagethrift.engine.warmup as warmup
warmup.warm_up()
show("warm_up()")
"""


@dataclass(frozen=True, slots=True)
class Guest:
    """A synthetic guest."""

    gib: int
    scattered: bool
    """random pages evenly over the guest, instead of one range"""

    @property
    def pages(self) -> int:
        """All pages."""
        return self.gib << 18

    @property
    def data_pages(self) -> int:
        """Random pages."""
        return min(self.pages // 4, MAX_DATA_PAGES)

    def stream(self) -> Iterator[bytes | memoryview]:
        """Yield the stream up to the end of RAM's last section."""
        pieces = Pieces(self.pages)
        yield pieces.begin()
        random = np.random.Generator(np.random.SFC64(1))
        step = self.pages // self.data_pages if self.scattered else 1
        for start in range(0, self.data_pages * step, SECTION_PAGES * step):
            count = min(SECTION_PAGES, self.data_pages - start // step)
            words = random.integers(0, 1 << 64, count * PAGE_BYTES // 8, np.uint64)
            content = words.view(np.uint8).reshape(count, PAGE_BYTES)
            yield from pieces.section(records(start, content, step=step))
        if not self.scattered:
            for start in range(self.data_pages, self.pages, 32 * SECTION_PAGES):
                yield from pieces.section(zero_records(start, min(32 * SECTION_PAGES, self.pages - start)))
        yield pieces.finish()


def run(guest: Guest, strategy: str = "pagethrift") -> dict[str, Any]:
    """Thin a guest's stream and return what the command's memory was."""
    command = [THIN, "thin", "--strategy", strategy]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    began_s = time.monotonic()
    for piece in guest.stream():
        process.stdin.write(memoryview(piece).cast("B"))
    process.stdin.flush()
    # All is read once it sleeps; a pipe's worth takes a few milliseconds.
    quiet_s = time.monotonic()
    while time.monotonic() - quiet_s < SETTLE_S:
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state != "S":
            quiet_s = time.monotonic()
        time.sleep(POLL_S)
    figures = {key: memory_bytes(process.pid, key) for key in ("VmHWM", "VmRSS", "RssAnon", "RssFile")}
    process.stdin.close()
    if process.wait():
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")
    rows_bytes = guest.data_pages * ROW_BYTES
    touched = guest.data_pages if guest.scattered else guest.pages
    constant = figures["VmHWM"] - rows_bytes - STATE_BYTES * touched
    ram_bytes = guest.pages * PAGE_BYTES
    whole = (ROW_BYTES + STATE_BYTES) / PAGE_BYTES
    return {
        "guest_gib": guest.gib,
        "scattered": guest.scattered,
        "data_pages": guest.data_pages,
        "peak_rss_bytes": figures["VmHWM"],
        "rss_anon_bytes": figures["RssAnon"],
        "rss_file_bytes": figures["RssFile"],
        "rows_written_bytes": rows_bytes,
        "state_bytes": STATE_BYTES * touched,
        "constant_bytes": constant,
        "constant_in_target": constant <= CONSTANT_TARGET_BYTES,
        "peak_rss_share_of_guest": round(figures["VmHWM"] / ram_bytes, 5),
        "ledger_share_if_all_written": round(whole, 5),
        "ledger_in_target": whole <= LEDGER_TARGET,
        "took_s": round(time.monotonic() - began_s, 1),
    }


def imports() -> list[dict[str, Any]]:
    """Return resident memory after each import step, in one fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", _PROBE, *STEPS], capture_output=True, text=True, check=True)
    rows = []
    for line in done.stdout.splitlines():
        step, *kib = line.rsplit(" ", 3)
        rss, anon, file = (int(value) * 1024 for value in kib)
        rows.append({"step": step, "rss_bytes": rss, "rss_anon_bytes": anon, "rss_file_bytes": file})
    return rows


def _mib(value: int) -> str:
    return f"{value / 2**20:9.1f}"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.memory", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/bench-memory.json"))
    parser.add_argument("--gib", type=int, nargs="+", default=list(SIZES_GIB), help="guest sizes")
    parser.add_argument("--scattered", action="store_true", help="also random pages scattered evenly")
    parser.add_argument("--imports", action="store_true", help="also memory after each import step")
    options = parser.parse_args(arguments)
    # A command that has to compile its kernels peaks higher than one that finds them cached.
    subprocess.run([sys.executable, "-c", _WARM], check=True)
    document: dict[str, Any] = {
        "kind": "pagethrift-bench-memory", "version": 1, "machine": machine.facts(), "guests": [],
    }  # fmt: skip
    print(f"{'guest':>22} {'peak RSS':>9} {'rows':>9} {'states':>9} {'constant':>9} MiB   RSS/guest")
    for scattered in (False, True) if options.scattered else (False,):
        for gib in options.gib:
            row = run(Guest(gib, scattered))
            document["guests"].append(row)
            name = f"{gib} GiB{', scattered' if scattered else ''}"
            cells = [row[f"{key}_bytes"] for key in ("peak_rss", "rows_written", "state", "constant")]
            print(
                f"{name:>22} {' '.join(map(_mib, cells))}       {row['peak_rss_share_of_guest']:.3%}",
                flush=True,
            )
    if options.imports:
        document["imports"] = imports()
        print(f"{'after':>30} {'RSS':>9} {'anon':>9} {'file':>9} MiB")
        for row in document["imports"]:
            cells = [row[key] for key in ("rss_bytes", "rss_anon_bytes", "rss_file_bytes")]
            print(f"{row['step']:>30} {' '.join(map(_mib, cells))}")
    output.write_json(options.out, document)
    print(options.out)


if __name__ == "__main__":
    main()

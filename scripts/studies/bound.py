"""``python -m scripts.studies.bound SCENARIO.toml... --out FILE``: how far we are from what zstd can do.

A scenario's guest under its load migrates into a file at the rate of a link, and never switches over: its
first pass, and what it changes for some seconds. From the file come

* what QEMU sent,
* what pagethrift sends of it, with two compressed channels, nothing held,
* the bound: the pages that are not zero, without those that are as they were sent before, as one zstd stream
  with long-distance matching over all of it, at levels that no live migration could afford.

``--table FILE`` prints a Markdown table of what was written. Needs root, as the lab does.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import zstandard
from scripts.studies.rows import line

from pagethrift.engine.output import Output, PauseReason
from pagethrift.engine.thinner import Thinner
from pagethrift.errors import StreamError
from pagethrift.lab.clients import Clients
from pagethrift.lab.guest.monitor import Monitor
from pagethrift.lab.hosts.network import TwoHosts, sweep_leftovers
from pagethrift.lab.hosts.processes import ProcessGroup
from pagethrift.lab.hosts.run_folder import run_folder
from pagethrift.lab.run import BOOT_TIMEOUT_S, boot, warm_up
from pagethrift.lab.scenario import read_scenario
from pagethrift.model.channels import ChannelSettings, SyncMode
from pagethrift.model.pages import PAGE_BYTES, Kind
from pagethrift.strategies.table import strategy
from pagethrift.stream.encoding.packet import PacketEncoder
from pagethrift.stream.events import Pages
from pagethrift.stream.reader import StreamReader

RATE_BPS = 25_000_000
SECONDS = 15.0
LEVELS = (1, 9, 19)
WINDOW_LOG = 30
OUTPUT_BYTES = 1 << 22
PIECE_BYTES = 1 << 20
HEAD = ("guest", "QEMU", "pagethrift", *(f"zstd level {level}" for level in LEVELS), "pagethrift / bound")


def capture(path: Path, into: Path, seconds: float) -> None:
    """Let a scenario's guest migrate into a file for so long. Raises LabError."""
    scenario = read_scenario(path)
    sweep_leftovers()
    with ExitStack() as stack:
        folder = stack.enter_context(run_folder())
        hosts = stack.enter_context(TwoHosts())
        group = stack.enter_context(ProcessGroup(folder))
        source = boot(scenario, hosts.a, group, folder)
        source.wait_ready(BOOT_TIMEOUT_S)
        warm_up(scenario, Clients(scenario, folder, hosts, group), source, lambda event: None)
        with Monitor(source.observer_qmp_path) as monitor:
            monitor.execute(
                "migrate-set-parameters",
                {"max-bandwidth": RATE_BPS, "downtime-limit": 1, "avail-switchover-bandwidth": 1000},
            )
            monitor.execute(
                "migrate-set-capabilities", {"capabilities": [{"capability": "return-path", "state": True}]}
            )
            # the shell keeps the way back open
            monitor.execute("migrate", {"uri": f"exec:cat > {into}; :"})
            time.sleep(seconds)
            monitor.execute("migrate_cancel")


def changed_pages(stream: Path) -> Iterator[bytes]:
    """Yield the pages that are not zero and not as they were sent before, in their order."""
    last: dict[int, int] = {}
    reader = StreamReader()
    with stream.open("rb") as file:
        try:
            while piece := file.read(PIECE_BYTES):
                for event in reader.feed(piece):
                    if not isinstance(event, Pages):
                        continue
                    batch = event.batch
                    for page, kind, at in zip(
                        batch.page.tolist(), batch.kind.tolist(), batch.position.tolist(), strict=True
                    ):
                        content = batch.buffer[at : at + PAGE_BYTES].tobytes() if kind == Kind.PAGE else b""
                        if last.get(page) != hash(content):
                            last[page] = hash(content)
                            yield content
        except StreamError:  # cut off where it was cancelled
            return


def zstd_bytes(pages: Sequence[bytes], level: int) -> int:
    """Return what one zstd stream with long-distance matching over all pages takes."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, window_log=WINDOW_LOG, enable_ldm=True, write_checksum=0
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    taken = sum(len(compressor.compress(page)) for page in pages if page)
    return taken + len(compressor.flush())


def pagethrift_bytes(stream: Path) -> int:
    """Return what pagethrift sends of a stream, over main and both channels."""
    settings = ChannelSettings()
    thinner = Thinner(strategy("pagethrift"), bytes(32), 0, channels=settings)
    encoders = [PacketEncoder(number, settings) for number in range(settings.channels)]
    out, sent = Output(OUTPUT_BYTES), 0
    with stream.open("rb") as file:
        while True:
            try:
                progress = thinner.run(out, 0.0)
            except StreamError:
                return sent
            for job in thinner.jobs():
                encoder = encoders[job.channel]
                packet = job.packet
                taken = len(encoder.sync()) if packet is None else sum(map(len, encoder.pages(packet)))
                if packet is not None:
                    thinner.taken(packet, taken)
                sent += taken
            sent += out.total_bytes
            out.clear()
            if progress is PauseReason.ENDED:
                return sent
            if progress is PauseReason.PROBE:
                thinner.probed(SyncMode.ROUND)
            elif progress is PauseReason.NEED_INPUT:
                thinner.received(file.readinto(thinner.room(PIECE_BYTES)))


def measure(scenario: Path, seconds: float) -> dict[str, Any]:
    """Return a row of the result."""
    with tempfile.TemporaryDirectory(prefix="pagethrift-bound-") as folder:
        stream = Path(folder) / "stream"
        capture(scenario, stream, seconds)
        pages = list(changed_pages(stream))
        return {
            "scenario": scenario.stem,
            "seconds": seconds,
            "qemu_bytes": stream.stat().st_size,
            "pages": sum(map(bool, pages)),
            "pagethrift_bytes": pagethrift_bytes(stream),
            "zstd_bytes": {str(level): zstd_bytes(pages, level) for level in LEVELS},
        }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table."""
    lines = [line(HEAD), line(["---"] * len(HEAD))]
    for row in rows:
        levels = [row["zstd_bytes"][str(level)] for level in LEVELS]
        cells = [f"{value / 1e6:.1f} MB" for value in (row["qemu_bytes"], row["pagethrift_bytes"], *levels)]
        lines.append(line([row["scenario"], *cells, f"{row['pagethrift_bytes'] / min(levels):.2f}"]))
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Measure, or print the table."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.bound", description=__doc__)
    parser.add_argument("scenarios", type=Path, nargs="*", metavar="SCENARIO.toml")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long the guest migrates")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the result file to write")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of a result file")
    given = parser.parse_args(arguments)
    if given.table:
        sys.stdout.write(markdown(json.loads(given.table.read_text())))
        return
    rows = []
    for scenario in given.scenarios:
        rows.append(measure(scenario, given.seconds))
        print(markdown(rows[-1:]).splitlines()[-1], flush=True)
    if given.out:
        given.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

"""``python -m scripts.bench.profile``: where a first round's time goes, and what would change it.

Shares come from a twin of the thinner's loop with a clock between its kernels; sweeps run the
real thinner with other batch sizes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scripts.bench import machine, output
from scripts.bench.__main__ import stream_folder
from scripts.bench.mixes import MIXES, StreamFile, write_stream
from scripts.bench.rounds import Sample, interleave, spread
from scripts.bench.stages import SECRET, chunks, table_of, thin_alone

from pagethrift.content.ledger import Ledger
from pagethrift.content.signature import SUBPAGE_BYTES, SubpageSigner
from pagethrift.engine.choice import Payload, choose_methods, measure_payloads
from pagethrift.engine.counters import Counters
from pagethrift.engine.output import Output
from pagethrift.model.methods import Allow
from pagethrift.stream.events import Pages, Signal
from pagethrift.stream.reader import BATCH_PAGES, StreamReader
from pagethrift.stream.writer import RUNS, RecordWriter, room_bytes

BATCHES = (64, 128, 256, BATCH_PAGES)
STAGES = ("read", "arrive", "sign", "compare", "choose", "write", "account", "commit")


def shares(stream: StreamFile) -> dict[str, float]:
    """Return nanoseconds a page for each stage, in the thinner's own order."""
    reader, out, counters = StreamReader(), Output(), Counters()
    signer, table = SubpageSigner.from_secret(SECRET), table_of(stream)
    ledger, writer = Ledger(table.total_pages, signer.zero_row), RecordWriter(table)
    arrivals = np.zeros(table.total_pages, np.uint8)
    signs = np.zeros((BATCH_PAGES, signer.columns), np.uint64)
    masks, sizes = np.zeros(BATCH_PAGES, np.uint32), np.zeros(BATCH_PAGES, np.int32)
    methods, before, first = np.zeros((3, BATCH_PAGES), np.uint8)
    allowed = np.full(BATCH_PAGES, int(Allow.SKIP | Allow.DELTA | Allow.SPARSE), np.uint8)
    payloads = np.zeros((BATCH_PAGES, len(Payload)), np.int32)
    runs = np.empty((RUNS, 3), np.int64)
    spent = dict.fromkeys(STAGES, 0)
    clock = time.perf_counter_ns
    for count, timed in chunks(stream, reader.room):
        reader.received(count)
        while True:
            last = clock()
            event = reader.next_event()
            if event in (Signal.NEED_DATA, Signal.END):
                break
            if not isinstance(event, Pages):
                continue
            batch, n = event.batch, len(event.batch)
            if out.free < room_bytes(batch.kind, batch.length):
                out.clear()

            def lap(stage: str, timed: bool = timed) -> None:
                nonlocal last
                now = clock()
                spent[stage] += (now - last) * timed
                last = now

            lap("read")
            counters.arrive(batch.page, ledger.state, arrivals, before[:n], first[:n])
            lap("arrive")
            signer.sign(batch, signs[:n])
            lap("sign")
            ledger.compare(batch.page, batch.kind, signs[:n], masks[:n])
            lap("compare")
            measure_payloads(
                batch.buffer, batch.position, batch.kind, batch.page, ledger.state, masks[:n],
                SUBPAGE_BYTES, allowed[:n], payloads[:n],
            )  # fmt: skip
            choose_methods(
                batch.page, ledger.state, masks[:n], allowed[:n], payloads[:n], methods[:n], sizes[:n]
            )
            lap("choose")
            out.size, _ = writer.write(
                batch, methods[:n], masks[:n], SUBPAGE_BYTES,
                out.data, out.size, sizes[:n], runs,
            )  # fmt: skip
            lap("write")
            counters.account(batch.page, methods[:n], sizes[:n], ledger.state)
            lap("account")
            ledger.commit(batch.page, signs[:n], methods[:n])
            lap("commit")
    return {stage: ns / stream.measured_pages for stage, ns in spent.items()}


def run(pages: int, rounds: int) -> dict[str, Any]:
    """Return stage shares and the batch sweep for a first round and an equal second one."""
    document: dict[str, Any] = {
        "kind": "pagethrift-bench-profile", "version": 1, "machine": machine.facts(), "rounds": rounds,
        "pages": pages, "load_before": machine.load(), "mixes": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="pagethrift-bench-", dir=stream_folder()) as name:
        for mix in (MIXES[0], MIXES[2]):
            stream = write_stream(mix, Path(name) / mix.name, pages)
            shares(stream)
            taken = [shares(stream) for _ in range(rounds)]

            def sweep(size: int, stream: StreamFile = stream) -> Callable[[], Sample]:
                return lambda: thin_alone(stream, "pagethrift", size)

            swept = interleave(
                {f"{size} pages": sweep(size) for size in BATCHES}, rounds, 1,
                f"{BATCH_PAGES} pages", ratio="percent_of_default",
            )  # fmt: skip
            document["mixes"][mix.name] = {
                "ns_per_page": {stage: spread([row[stage] for row in taken]) for stage in STAGES},
                "batch_pages": {size: summary.as_json() for size, summary in swept.items()},
            }
    document["load_after"] = machine.load()
    return document


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.profile", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/bench-profile.json"))
    parser.add_argument("--pages", type=int, default=65_536)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    document = run(options.pages, options.rounds)
    for name, mix in document["mixes"].items():
        total = sum(figure["median"] for figure in mix["ns_per_page"].values())
        print(f"{name}: {total:.0f} ns a page")
        for stage, ns in mix["ns_per_page"].items():
            extremes = f"({ns['min']:.0f} to {ns['max']:.0f})"
            print(f"  {stage:10}{ns['median']:8.1f} ns {ns['median'] / total:7.1%}  {extremes}")
        for size, row in mix["batch_pages"].items():
            speed, ratio = row["mb_per_s"], row["percent_of_default"]
            print(
                f"  batches of {size:12}{speed['median']:8.0f} MB/s ({speed['min']:.0f} to "
                f"{speed['max']:.0f}), {ratio['median']:.0f} % of the default"
            )
    output.write_json(options.out, document)
    print(options.out)


if __name__ == "__main__":
    main()

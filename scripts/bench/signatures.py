"""``python -m scripts.bench.signatures``: signature candidates side by side, in one run."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.bench import machine, output
from scripts.bench.candidates import AS_USED, BATCH_PAGES, Candidate, batch_of_pages, candidates
from scripts.bench.rounds import Sample, interleave

from pagethrift.model.pages import PAGE_BYTES, PageBatch

RATIO = "percent_of_used"


def timed(candidate: Candidate, pages: PageBatch, passes: int) -> Callable[[], Sample]:
    """Return a measure: sign all pages ``passes`` times, a batch at a time."""
    parts = [pages.part(start, start + BATCH_PAGES) for start in range(0, len(pages), BATCH_PAGES)]

    def measure() -> Sample:
        began_s = time.perf_counter()
        for _ in range(passes):
            for part in parts:
                candidate.sign(part)
        count = passes * len(pages)
        return Sample(time.perf_counter() - began_s, count * PAGE_BYTES, count)

    return measure


def run(rounds: int, passes: int) -> dict[str, Any]:
    """Return the result document."""
    pages, rows = batch_of_pages(), list(candidates())
    load_before = machine.load()
    summaries = interleave(
        {row.name: timed(row, pages, passes) for row in rows}, rounds, 1, AS_USED, ratio=RATIO
    )
    return {
        "kind": "pagethrift-bench-signatures",
        "version": 1,
        "machine": machine.facts(),
        "rounds": rounds,
        "load_before": load_before,
        "load_after": machine.load(),
        "candidates": [
            {
                "name": row.name,
                "granularity_bytes": row.granularity_bytes,
                "ledger_bytes_per_page": row.ledger_bytes,
                "ledger_percent": round(100 * row.ledger_bytes / PAGE_BYTES, 2),
                "bound": row.bound,
                "bound_kind": row.bound_kind,
                "keyed": row.keyed,
                **summaries[row.name].as_json(),
            }
            for row in rows
        ],
    }


def markdown(document: dict[str, Any]) -> str:
    """Return the table of docs/signatures.md."""
    lines = [
        "| candidate | GB/s, median (min to max) | ns/page | ledger bytes/page | collision | kind | keyed |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in document["candidates"]:
        speed = row["mb_per_s"]
        lines.append(
            f"| {row['name']} | {speed['median'] / 1e3:.2f} ({speed['min'] / 1e3:.2f} to "
            f"{speed['max'] / 1e3:.2f}) | {row['ns_per_page']['median']:.0f} | "
            f"{row['ledger_bytes_per_page']} ({row['ledger_percent']} %) | {row['bound']} | "
            f"{row['bound_kind']} | {row['keyed']} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.signatures", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/bench-signatures.json"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--passes", type=int, default=8, help="times 4 MiB are signed a round")
    options = parser.parse_args(arguments)
    document = run(options.rounds, options.passes)
    output.write_json(options.out, document)
    print(markdown(document))
    print(f"{options.out} (load average {document['load_before'][0]} to {document['load_after'][0]})")


if __name__ == "__main__":
    main()

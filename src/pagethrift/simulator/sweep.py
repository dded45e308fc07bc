"""Carrying a sweep out on Dask, cell by cell; it can be resumed and survives the loss of workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pagethrift.errors import UsageError
from pagethrift.model.result import MigrationResult, flat_name
from pagethrift.simulator.sweep_spec import Cell
from pagethrift.simulator.virtual_migration import simulate
from pagethrift.simulator.workers import at_work, finished
from pagethrift.strategies.table import strategy
from pagethrift.trace.read import Trace, read_trace
from pagethrift.whole_file import check_folder, whole_file, write_text

SWEEP_SCHEMA = "pagethrift.sweep"
SWEEP_VERSION = 1


@dataclass(frozen=True, slots=True)
class SweepProgress:
    """The progress of a sweep."""

    cells: int
    done: int
    reused: int
    """cells of ``done`` that an earlier run has simulated"""
    failed: int


def run_cell(cell: Cell) -> str:
    """Simulate one cell, in a worker, and return its result as JSON. Raises PagethriftError."""
    row = strategy(cell.strategy, cell.stop, **dict(cell.parameters))
    trace = _loaded(cell.trace, cell.seed, cell.trace_digest).faster(cell.speed)
    return simulate(trace, row, cell.options).to_json()


@lru_cache(maxsize=2)
def _loaded(path: str, seed: int, digest: str) -> Trace:
    return read_trace(Path(path), seed)


def run_sweep(
    cells: list[Cell],
    folder: Path,
    scheduler: str | None = None,
    workers: int | None = None,
    progress: Callable[[SweepProgress], None] = lambda _: None,
) -> Path:
    """Simulate every cell that has no result yet; return the Parquet file with all results.

    Each finished cell is written to ``folder``/cells at once, so that an interrupted sweep can go on.
    ``scheduler``: address of a Dask scheduler whose workers see the same files; default: a worker process
    on this machine for each core. Raises UsageError when cells failed, ModuleNotFoundError without Dask
    (the sweep extra).
    """
    store = check_folder(folder, "--out") / "cells"
    store.mkdir(parents=True, exist_ok=True)
    missing = [cell for cell in cells if not (store / f"{cell.key}.json").exists()]
    reused = len(cells) - len(missing)
    failures: list[str] = []
    done = reused
    progress(SweepProgress(len(cells), done, reused, 0))
    if missing:
        with at_work(scheduler, workers, len(missing)) as client:
            for cell, text, error in finished(
                client, run_cell, {f"cell-{cell.key}": cell for cell in missing}
            ):
                if text is None:
                    failures.append(f"{cell.strategy} on {Path(cell.trace).name}: {error}")
                else:
                    write_text(store / f"{cell.key}.json", text)
                    done += 1
                progress(SweepProgress(len(cells), done, reused, len(failures)))
    path = collect(cells, folder)
    if failures:
        raise UsageError(f"{len(failures)} of {len(cells)} cells failed; the first: {failures[0]}")
    return path


def collect(cells: list[Cell], folder: Path) -> Path:
    """Write the results of all finished cells as one Parquet file, a row each."""
    rows = []
    for cell in cells:
        path = folder / "cells" / f"{cell.key}.json"
        if path.exists():
            rows.append(_row(cell, path.read_text()))
    table = pa.Table.from_pylist(rows)
    metadata = {SWEEP_SCHEMA: json.dumps({"schema": SWEEP_SCHEMA, "version": SWEEP_VERSION})}
    target = folder / "results.parquet"
    with whole_file(target) as draft:
        pq.write_table(table.replace_schema_metadata(metadata), draft, compression="zstd")
    return target


def _row(cell: Cell, text: str) -> dict[str, Any]:
    result = MigrationResult.from_json(text)
    scalars = (
        "outcome", "converged", "total_time_s", "downtime_s", "first_round_bytes", "retransferred_bytes",
        "transferred_bytes", "one_pass_bound_s", "ratio", "forced_at_s", "predicted_downtime_s",
        "switchover_reason", "error", "ram_bytes",
    )  # fmt: skip
    return {
        "key": cell.key,
        "trace": Path(cell.trace).name,
        "trace_digest": cell.trace_digest,
        "strategy": cell.strategy,
        "stop": cell.stop,
        "parameters": json.dumps(dict(cell.parameters)),
        "bandwidth_bps": cell.bandwidth_bps,
        "speed": cell.speed,
        "delay_s": cell.delay_s,
        "downtime_limit_s": cell.downtime_limit_s,
        "as_live": cell.as_live,
        "compress": str(cell.compress),
        "channels": cell.channels,
        "scale": cell.scale,
        "window_bytes": result.window_bytes,
        "seed": cell.seed,
        **{name: getattr(result, name) for name in scalars},
        "rounds": len(result.rounds),
        **{flat_name(name): count for name, count in result.pages.named()},
        "warnings": "; ".join(result.warnings),
        "result": text,
    }

"""Carrying a sweep out on Dask, cell by cell; it can be resumed and survives the loss of workers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pagethrift.errors import PagethriftError, UsageError
from pagethrift.model.result import MigrationResult, flat_name
from pagethrift.simulator.sweep_spec import Cell
from pagethrift.simulator.virtual_migration import simulate
from pagethrift.strategies.table import strategy
from pagethrift.trace.read import Trace, read_trace
from pagethrift.whole_file import check_folder, whole_file, write_text

SWEEP_SCHEMA = "pagethrift.sweep"
SWEEP_VERSION = 1
CONNECT = "10s"
LOST_WORKERS = 10
"""how many workers may die on a cell before the cell counts as failed"""


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
        with _client(scheduler, workers, len(missing)) as client:
            for cell, text, error in _finished(client, missing):
                if error:
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
        "window_bytes": result.window_bytes,
        "seed": cell.seed,
        **{name: getattr(result, name) for name in scalars},
        "rounds": len(result.rounds),
        **{flat_name(name): count for name, count in result.pages.named()},
        "warnings": "; ".join(result.warnings),
        "result": text,
    }


@contextmanager
def _client(scheduler: str | None, workers: int | None, cells: int) -> Iterator[Any]:
    dask: Any = import_module("dask")
    distributed: Any = import_module("distributed")
    dask.config.set({"distributed.scheduler.allowed-failures": LOST_WORKERS})
    if scheduler is not None:
        try:
            with closing(distributed.Client(scheduler, timeout=CONNECT)) as client:
                yield client
        except (OSError, TimeoutError) as error:
            raise UsageError(f"--scheduler {scheduler}: no answer ({error}); is it running?") from error
        return
    count = min(workers or len(os.sched_getaffinity(0)), cells)
    with (
        distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            silence_logs=50,
            dashboard_address=None,
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def _finished(client: Any, cells: list[Cell]) -> Iterator[tuple[Cell, str, str]]:
    """Yield (cell, result, error) as cells finish, in any order."""
    as_completed: Any = import_module("distributed").as_completed
    futures = {client.submit(run_cell, cell, key=f"cell-{cell.key}", pure=True): cell for cell in cells}
    for future in as_completed(list(futures)):
        cell = futures[future]
        try:
            yield cell, future.result(), ""
        except PagethriftError as error:
            yield cell, "", str(error)
        except Exception as error:  # an error in a worker concerns only its cell
            yield cell, "", f"{type(error).__name__}: {error}"
        future.release()

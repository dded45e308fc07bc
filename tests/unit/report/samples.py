"""Result files made by hand, small and with round numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pagethrift.lab.run_files import write_run
from pagethrift.model.result import MigrationResult, Mode, Outcome, PageCounters, RoundRecord
from pagethrift.model.run_result import RunResult
from pagethrift.report.runs import Run, from_run_result


def migration(mode: str = "plain", total_s: float = 10.0, **changes: Any) -> MigrationResult:
    plain = mode not in ("pagethrift", "thesis")
    values: dict[str, Any] = {
        "mode": Mode.PLAIN if plain else Mode.RELAY,
        "strategy": "qemu" if plain else mode,
        "outcome": Outcome.COMPLETED,
        "simulated": False,
        "began_unix_s": 1000.0,
        "ended_unix_s": 1000.0 + total_s,
        "downtime_limit_s": 0.3,
        "total_time_s": total_s,
        "downtime_s": 0.1,
        "blackout_s": 0.2,
        "transferred_bytes": int(total_s * 1e6),
        "converged": True,
        "rounds": (round_record(0, 1000), round_record(1, 100)),
        "source_qemu": "10.0.2",
    }
    if not plain:
        values |= {"relay_cpu_s": 1.0, "relay_peak_rss_bytes": 100_000_000}
    return MigrationResult(**values | changes)


def round_record(number: int, pages: int, held: int = 0) -> RoundRecord:
    return RoundRecord(number, float(number), pages, pages * 4096, PageCounters(full=pages), held)


def client(**changes: Any) -> dict[str, Any]:
    """A client of 20 s whose migration began 5 s after it."""
    phases = [
        {
            "name": name,
            "began_s": began,
            "ended_s": end,
            "operations_per_s": 100.0,
            "latency_ms": {"p99": 8.0},
        }
        for name, began, end in (("before", 50.0, 55.0), ("during", 55.0, 65.0), ("after", 65.0, 70.0))
    ]
    series = {
        "began_s": 50.0, "interval_s": 1.0, "operations": [10.0] * 20,
        "p50_ms": [1.0] * 20, "p99_ms": [2.0] * 19 + [None], "max_ms": [3.0] * 20,
    }  # fmt: skip
    return {"spec": {"rate_per_s": 10.0}, "began_s": 50.0, "phases": phases, "series": series} | changes


def result(mode: str = "plain", total_s: float = 10.0, repetition: int = 0, **changes: Any) -> RunResult:
    values: dict[str, Any] = {
        "scenario": "small",
        "mode": mode,
        "repetition": repetition,
        "migration": migration(mode, total_s),
        "client": client(),
        "accelerator": "tcg",
        "lost_requests": 0,
    }
    return RunResult(**values | changes)


def run(mode: str = "plain", total_s: float = 10.0, repetition: int = 0, **changes: Any) -> Run:
    return from_run_result(
        result(mode, total_s, repetition, **changes), "folder", f"{mode}.{repetition}.json"
    )


def write(folder: Path, *results: RunResult) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(results):
        write_run(one, folder / f"{number:02d}.json")


def change(path: Path, **values: Any) -> None:
    """Overwrite top-level keys of a result file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def memcaslap(**changes: Any) -> dict[str, Any]:
    """memcaslap's series, as lab/load/memcaslap.py gives it, of 15 s that began 2 s after the client."""
    return {
        "began_s": 52.0, "began_unix_s": 995.0, "interval_s": 1.0, "operations": [4000] * 15,
        "misses": [0] * 15, "max_ms": [30.5] * 15, "mean_ms": [4.5] * 15,
    } | changes  # fmt: skip

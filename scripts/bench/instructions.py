"""Instructions a page of `pagethrift thin`: perf stat where there are counters, else callgrind.

The count of a stream with no pages on the clock is taken off, so start-up is apart. Start-up
takes 3e9 instructions and differs by 1e7 from run to run: every count is repeated, what the
repeats differ by is reported, and a result that does not stand clear of it is withheld.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.bench.mixes import MIXES, PREFIX_PAGES, write_stream

THIN = str(Path(sys.executable).parent / "pagethrift")
PAGES = 65_536
"""2048 pages gave 179 a page where the signatures alone multiply 256 times: all of it was noise"""
REPEATS = 2
MAX_NOISE_SHARE = 0.2
PLAIN_CPU = {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": "+avx2,+bmi,+bmi2,+fma"}
"""valgrind knows no AVX-512: under it the kernels are compiled for an older processor"""


def count(show: Callable[[str], None]) -> dict[str, Any]:
    """Return instructions a page for each strategy, or say loudly why not."""
    for name, ready, counter in (("perf", _perf_counts, _perf), ("callgrind", _has_valgrind, _callgrind)):
        if ready():
            return {"tool": name, "pages": PAGES, "strategies": _per_page(counter, show, name)}
        show(f"instructions: {name} cannot count here")
    show("INSTRUCTIONS SKIPPED: neither perf's hardware counters nor valgrind work on this machine")
    return {"tool": None}


def difference(base: list[int], long: list[int], pages: int) -> dict[str, float | None]:
    """Return instructions a page and their noise, both per page; no value where noise drowns it."""
    extra = statistics.mean(long) - statistics.mean(base)
    noise = (max(base) - min(base)) + (max(long) - min(long))
    resolved = extra > 0 and noise <= MAX_NOISE_SHARE * extra
    return {
        "instructions_per_page": round(extra / pages) if resolved else None,
        "noise_per_page": round(noise / pages),
    }


def _per_page(
    counter: Callable[[list[str], Path, Path], int], show: Callable[[str], None], tool: str
) -> dict[str, dict[str, float | None]]:
    result = {}
    with tempfile.TemporaryDirectory(prefix="pagethrift-bench-") as name:
        folder = Path(name)
        base = write_stream(MIXES[0], folder / "base", PREFIX_PAGES)
        long = write_stream(MIXES[0], folder / "long", PREFIX_PAGES + PAGES)
        for strategy in ("kvm-default", "thesis", "pagethrift"):
            command = [THIN, "thin", "--strategy", strategy]
            counts: dict[Path, list[int]] = {base.path: [], long.path: []}
            for _ in range(REPEATS):
                for path, values in counts.items():
                    values.append(counter(command, path, folder))
            found = difference(counts[base.path], counts[long.path], PAGES)
            result[strategy] = found
            value = found["instructions_per_page"]
            text = "NOT RESOLVED" if value is None else f"{value} a page"
            show(f"instructions ({tool}): {strategy} {text}, noise {found['noise_per_page']} a page")
    return result


def _perf_counts() -> bool:
    if not shutil.which("perf"):
        return False
    done = subprocess.run(
        ["perf", "stat", "-x,", "-e", "instructions:u", "true"], capture_output=True, text=True, check=False
    )
    return bool(re.search(r"^\d+,", done.stderr, re.MULTILINE))


def _perf(command: list[str], stream: Path, folder: Path) -> int:
    report = folder / "perf.csv"
    with stream.open("rb") as file:
        subprocess.run(
            ["perf", "stat", "-x,", "-e", "instructions:u", "-o", str(report), *command],
            stdin=file, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
    return int(re.findall(r"^(\d+),", report.read_text(), re.MULTILINE)[0])


def _has_valgrind() -> bool:
    return shutil.which("valgrind") is not None


def _callgrind(command: list[str], stream: Path, folder: Path) -> int:
    environment = {
        **os.environ,
        **PLAIN_CPU,
        "NUMBA_CACHE_DIR": str(folder / "kernels"),
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL",
        "PYTHONHASHSEED": "0",
    }
    for tool in ([], ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder / 'callgrind.out'}"]):
        # The first turn fills the kernel cache, so that no compiling is counted.
        with stream.open("rb") as file:
            done = subprocess.run(
                [*tool, sys.executable, *command],
                stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment,
                check=False,
            )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(tool)}: exit code {done.returncode}: {done.stderr[-400:]}")
    found = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
    if not found:
        raise RuntimeError(f"callgrind counted nothing: {done.stderr[-400:]}")
    return int(found[1])

"""``python -m tests.fuzz --seconds N``: fuzz every target, or one, for N seconds each.

Each target runs in a process of its own, guided by coverage. Mode "python" runs the kernels under attack as
Python, so that coverage sees their branches; mode "compiled" runs them as the relay does, many times as fast.
A target without kernels has only the first. What was found is written to results/fuzz/TARGET, and counts are
added to a result file. Exit code 1 when something was found.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.fuzz import corpus
from tests.fuzz.target import Target

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results/fuzz"
MODES = ("python", "compiled")
MOST_RSS_MIB = 2048
LONGEST_S = 20
"""an input that takes longer ends the process"""


def main(arguments: list[str] | None = None) -> int:
    """Fuzz; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target and mode (default 60)")
    parser.add_argument("--target", choices=corpus.NAMES, action="append", help="only this one; repeatable")
    parser.add_argument("--mode", choices=MODES, help="only this one")
    parser.add_argument("--keep", action="store_true", help="put what is new into tests/fuzz/corpus")
    parser.add_argument("--out", type=Path, default=RESULTS / "fuzz.json", help="add the counts to this file")
    chosen = parser.parse_args(arguments)
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install -e '.[fuzz]'", file=sys.stderr)
        return 2
    found = 0
    for name in chosen.target or corpus.NAMES:
        for mode in MODES if name in corpus.VISIBLE else MODES[:1]:
            if chosen.mode in (None, mode):
                run = fuzz(name, mode, chosen.seconds)
                add(chosen.out, run)
                found += run["findings"]
                print(
                    f"{name} ({mode}): {run['executions']:,} executions in {run['seconds']} s,"
                    f" {run['findings']} findings", flush=True,
                )  # fmt: skip
        if chosen.keep:
            print(f"{name}: {shrink(name)} inputs kept")
    return 1 if found else 0


def fuzz(name: str, mode: str, seconds: int) -> dict[str, Any]:
    """Fuzz one target in a process of its own; return the counts of the run."""
    work, findings = RESULTS / "corpus" / name, RESULTS / name
    corpus.unpack(name, work)
    before = _findings(findings)
    said = _child(
        name, mode, findings, str(work), f"-max_total_time={seconds}", "-print_final_stats=1",
        f"-rss_limit_mb={MOST_RSS_MIB}", f"-timeout={LONGEST_S}", f"-artifact_prefix={findings}/",
        "-use_value_profile=1" if mode == "python" else "-use_value_profile=0",
    )  # fmt: skip
    counts = {key: int(value) for key, value in re.findall(r"^stat::(\w+):\s+(\d+)$", said, re.MULTILINE)}
    spent = re.search(r"^Done \d+ runs in (\d+) second", said, re.MULTILINE)
    coverage = re.findall(r"\bcov: (\d+)", said)
    new = _findings(findings) - before
    if not spent:
        print(said[-3000:], file=sys.stderr)
    for each in sorted(new):
        print(f"  {findings / each}: {_what(findings / each)}", file=sys.stderr)
    return {
        "target": name,
        "mode": mode,
        "executions": counts.get("number_of_executed_units", 0),
        "seconds": int(spent[1]) if spent else seconds,
        "branches": int(coverage[-1]) if coverage else 0,
        "peak_rss_mib": counts.get("peak_rss_mb", 0),
        "findings": len(new) + (not spent and not new),
    }


def shrink(name: str) -> int:
    """Make the kept corpus of a target anew: as few and short inputs as cover the same branches."""
    work, fewer = RESULTS / "corpus" / name, RESULTS / "fewer" / name
    fewer.mkdir(parents=True, exist_ok=True)
    for old in fewer.iterdir():
        old.unlink()
    _child(name, MODES[0], RESULTS / name, "-merge=1", str(fewer), str(work))
    chosen = corpus.target(name)
    return corpus.keep(
        name, (data for path in fewer.iterdir() if _harmless(chosen, data := path.read_bytes()))
    )


def _harmless(chosen: Target, data: bytes) -> bool:
    try:
        chosen.fuzz_one(data)
    except Exception:  # a finding, which is not kept in the corpus
        return False
    return True


def _child(name: str, mode: str, findings: Path, *arguments: str) -> str:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.child", name, mode, str(findings), *arguments],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.STDOUT, stdout=subprocess.PIPE,
        text=True, errors="replace", check=False,
    )  # fmt: skip
    return done.stdout


def _findings(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*") if path.suffix != ".json"}


def _what(path: Path) -> str:
    told = path.with_name(path.name + ".json")
    return str(json.loads(told.read_text())["what"]) if told.exists() else "it ended the process"


def add(path: Path, run: dict[str, Any]) -> None:
    """Add the counts of a run to a result file."""
    runs: list[dict[str, Any]] = json.loads(path.read_text())["runs"] if path.exists() else []
    same = [each for each in runs if (each["target"], each["mode"]) == (run["target"], run["mode"])]
    for each in same:
        run = run | {key: each[key] + run[key] for key in ("executions", "seconds", "findings")}
        run |= {key: max(each[key], run[key]) for key in ("branches", "peak_rss_mib")}
    runs = sorted([each for each in runs if each not in same] + [run], key=lambda r: (r["target"], r["mode"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

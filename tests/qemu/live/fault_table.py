"""Write what the fault matrix found as a page of the documentation."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

TITLES = {
    "relay": "By the relay",
    "multifd": "By the relay, with multifd at the source",
    "no destination monitor": "Without the destination's monitor",
    "QEMU 7.2": "By the relay, from QEMU 7.2 to 7.2",
}
FAILED = "**failed**"
HEAD = """# Fault matrix

`make fault-matrix` wrote this page. It starts two real QEMUs (10.0; in the last table 7.2) with a guest that
never stops writing, migrates it by `pagethrift migrate` and breaks one thing in one phase. It passes a
cell only if what the command said was true, no more than one guest runs (with the destination's
monitor), that guest is right (it goes on, and memory it does not write is as it was), the operator's
settings are in force, no process and no temporary file is left, and a second attempt succeeds where the
guest stayed at the source.

A cell says where the guest ran afterwards, and in how many trials. *Said*: it ran nowhere, and one
`cont`, as the error line advises, started it. A command that ended by SIGKILL says nothing;
`pagethrift restore --start` with both monitors started its guest ([operating.md](operating.md#after-a-kill)).
After SIGKILL, without memory, and when the source's monitor is gone, the suite puts the settings back by
`pagethrift restore`.

Each cell was tried {fewest} to {most} times, {trials} trials in all: docs/results/fault-matrix.json adds them
up over the runs. A cell that fails loses what it counted before, and so does one that is mended.
`make fault-matrix N=3` tries each cell three times; `pytest -k` tries some.

*Disk full*: from that moment on no file can grow (RLIMIT_FSIZE), with a result and a facts log asked for.
*No more memory*: from that moment on every allocation of 4 KiB or more fails (RLIMIT_AS).
*Destination refuses cont*: another process holds a lock on the guest's disk, for good or until a second
after the source has completed.

*Died with it*: the destination had begun to run the guest, the command had ended with 0, and the
destination was killed, as any host can be. *Both, said*: without the destination's monitor nobody can
ask it or keep it from starting; the line says that both may run the guest. In the same way nobody
could ask a destination that cannot start the guest: the command ends with 0 and warns that nobody asked.
QEMU 10.0 starts such a guest no more, so the suite ends that destination and sends `cont` to the source.
"""


def count(results: Path, cell: tuple[str, str, str], outcome: str = FAILED) -> None:
    """Add one outcome to a cell (way, phase, fault) of the counts in ``results``.

    Failures and what was right before or after them are not added up: the counts begin anew.
    """
    with results.open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two halves of the matrix may run side by side
        known: dict[str, dict[str, dict[str, int]]] = json.loads(file.read() or "{}")
        counts = known.setdefault(", ".join(cell[:2]), {}).setdefault(cell[2], {})
        if (outcome == FAILED) != (FAILED in counts):
            counts.clear()
        counts[outcome] = counts.get(outcome, 0) + 1
        lines = (f"{json.dumps(name)}: {json.dumps(each)}" for name, each in known.items())
        file.seek(0)
        file.write("{\n" + ",\n".join(lines) + "\n}\n")
        file.truncate()


def write(page: Path, results: Path, cells: Sequence[tuple[str, str, str]]) -> None:
    """Write ``page``: what each cell (way, phase, fault) gave, as counted in ``results``.

    A cell that was not tried yet counts as failed.
    """
    known = json.loads(results.read_text())
    found: dict[tuple[str, str, str], dict[str, int]] = {
        cell: known.get(", ".join(cell[:2]), {}).get(cell[2], {FAILED: 0}) for cell in cells
    }
    trials = {cell: sum(counts.values()) for cell, counts in found.items()}
    out = [HEAD.format(fewest=min(trials.values()), most=max(trials.values()), trials=sum(trials.values()))]
    for way in dict.fromkeys(cell[0] for cell in cells):
        mine = [cell for cell in cells if cell[0] == way]
        phases = list(dict.fromkeys(phase for _, phase, _ in mine))
        right = sum(FAILED not in found[cell] for cell in mine)
        tried = sum(trials[cell] for cell in mine)
        out += [f"## {TITLES[way]}\n", f"{right} of {len(mine)} cells right, in {tried} trials.\n"]
        out += ["| fault | " + " | ".join(phases) + " |", "|---" * (len(phases) + 1) + "|"]
        for fault in dict.fromkeys(fault for _, _, fault in mine):
            row = [_words(found.get((way, phase, fault))) for phase in phases]
            out.append(f"| {fault} | " + " | ".join(row) + " |")
        out.append("")
    page.write_text("\n".join(out), encoding="utf-8")


def _words(counts: Mapping[str, int] | None) -> str:
    if counts is None:
        return ""
    return ", ".join(f"{outcome} {number}" for outcome, number in sorted(counts.items()))

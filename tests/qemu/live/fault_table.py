"""Write what the fault matrix found as a page of the documentation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

TITLES = {
    "relay": "By the relay",
    "multifd": "By the relay, with multifd at the source",
    "no destination monitor": "Without the destination's monitor",
}
FAILED = "**failed**"
HEAD = """# Fault matrix

`make fault-matrix` wrote this page. It starts two real QEMUs (10.0) with a guest that never stops
writing, migrates it by `pagethrift migrate` and breaks one thing in one phase. It passes a cell only if
what the command said was true, no more than one guest runs (with the destination's monitor), that guest
is right (it goes on, and memory it does not write is as it was), the operator's settings are in force,
no process and no temporary file is left, and a second attempt succeeds where the guest stayed at the
source.

A cell says where the guest runs afterwards. *Said*: it ran nowhere, and one `cont`, as the error line
advises, started it. A command that ended by SIGKILL says nothing: ask both ends with `query-status`,
send `cont` to the destination if the source says `postmigrate`, and put the settings back with
`pagethrift restore`. After SIGKILL, and when the source's monitor is gone, the suite calls `pagethrift
restore`.

A run of some cells (`pytest -k`) changes only these: docs/results/fault-matrix.json keeps every cell's last
outcome. Each cell was tried once.

*Died with it*: the destination had begun to run the guest, the command had ended with 0, and the
destination was killed, as any host can be. *Both, said*: without the destination's monitor nobody can
ask it or keep it from starting; the line says that both may run the guest.
"""


def write(
    page: Path,
    results: Path,
    outcomes: Mapping[tuple[str, str, str], str],
    cells: Sequence[tuple[str, str, str]],
) -> None:
    """Write ``page``: what each cell (way, phase, fault) gave now, or in the run that ``results`` keeps.

    A cell without an outcome was not tried yet: it counts as failed.
    """
    known = json.loads(results.read_text()) if results.exists() else {}
    known |= {", ".join(cell): outcome for cell, outcome in outcomes.items()}
    results.write_text(json.dumps(known, indent=0) + "\n", encoding="utf-8")
    found = {cell: known[", ".join(cell)] for cell in cells if ", ".join(cell) in known}
    out = [HEAD]
    for way in dict.fromkeys(cell[0] for cell in cells):
        mine = [cell for cell in cells if cell[0] == way]
        phases = list(dict.fromkeys(phase for _, phase, _ in mine))
        right = sum(found.get(cell, FAILED) != FAILED for cell in mine)
        out += [f"## {TITLES[way]}\n", f"{right} of {len(mine)} cells right.\n"]
        out += ["| fault | " + " | ".join(phases) + " |", "|---" * (len(phases) + 1) + "|"]
        for fault in dict.fromkeys(fault for _, _, fault in mine):
            row = [found.get((way, phase, fault), FAILED) for phase in phases]
            out.append(f"| {fault} | " + " | ".join(row) + " |")
        out.append("")
    page.write_text("\n".join(out), encoding="utf-8")

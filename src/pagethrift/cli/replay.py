"""``pagethrift replay``: check that the planner still decides as it did in a live migration."""

from __future__ import annotations

import json as json_library
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pagethrift.cli.common import Json
from pagethrift.simulator.replay import Difference, replay
from pagethrift.trace.facts_log import FactsLog, read_facts

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SHOWN = 10
"""differences that are printed; --json has all of them"""


@app.command(
    epilog="Example: pagethrift replay vm1.facts.jsonl\n\n"
    "Exit codes: 0 every decision is the same, 1 decisions differ, 2 usage.",
)
def replay_log(
    facts: Annotated[
        Path, typer.Argument(help="A log that pagethrift migrate --facts-log wrote.", metavar="FACTS")
    ],
    json: Json = False,
) -> None:
    """Give a new planner the facts of a live migration, and compare its decisions with the logged ones.

    Live migrations and simulations share the planner, so the same facts at the same times must lead to
    the same decisions.
    """
    log = read_facts(facts)
    differences = replay(log)
    if json:
        typer.echo(json_library.dumps(_result(log, differences), default=lambda value: value.value))
    else:
        _show(log, differences)
    if differences:
        sys.exit(1)


def _result(log: FactsLog, differences: list[Difference]) -> dict[str, Any]:
    return {
        "type": "result",
        "strategy": log.strategy,
        "stop": log.stop,
        "parameters": log.parameters,
        "decisions": len(log.lines),
        "differences": [asdict(difference) for difference in differences],
    }


def _show(log: FactsLog, differences: list[Difference]) -> None:
    rule = f" with stop rule {log.stop}" if log.stop else ""
    typer.echo(
        f"{log.strategy}{rule}: {len(log.lines)} decisions compared, {len(differences)} different"
        + (f"; the last was to {log.lines[-1][1].action.value}" if log.lines else "")
    )
    for difference in differences[:SHOWN]:
        live, replayed = difference.live, difference.replayed
        typer.echo(
            f"{difference.facts.now_s:.2f} s, round {difference.facts.round}:"
            f" live {live.action.value} ({live.reason or 'no reason'}),"
            f" replayed {replayed.action.value} ({replayed.reason or 'no reason'})"
        )
    if len(differences) > SHOWN:
        typer.echo(f"and {len(differences) - SHOWN} more")

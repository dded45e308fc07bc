"""``pagethrift evacuate``: empties a host before a deadline."""

from __future__ import annotations

import asyncio
import json as json_library
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pagethrift.cli.common import Json
from pagethrift.cli.ending import ending_signals
from pagethrift.cli.evacuation_view import View, show_end, show_plan
from pagethrift.cli.exits import INTERRUPTED, complain
from pagethrift.drain.forecasts import Known, know
from pagethrift.drain.record import carried_out, planned, to_json
from pagethrift.drain.run import Evacuation, resumed
from pagethrift.drain.state import Stage, State, StateFile
from pagethrift.errors import GuestError, LinkError, UsageError
from pagethrift.evacuation.outline import Outline, outline
from pagethrift.evacuation.plan import Plan, read_plan
from pagethrift.evacuation.planner import BASELINES, PLANNED
from pagethrift.given_file import named, read_toml
from pagethrift.whole_file import check_folder, write_text

app = typer.Typer(add_completion=False)

EPILOG = (
    "Example: pagethrift evacuate host1.toml --dry-run, pagethrift evacuate host1.toml --out out\n\n"
    "Exit codes: 0 every guest is out, 1 unexpected, 2 usage, 4 some guests stayed and run at the source,"
    " 5 a QEMU refused or does not answer, 7 nobody can say where a guest runs, or it runs at neither end or"
    " at both, 130 interrupted. A guest that is out late does not change the code; the record has it."
)


@app.command(epilog=EPILOG)
def evacuate(
    plan: Annotated[
        Path, typer.Argument(help="The plan; docs/evacuation.md has every key.", metavar="PLAN.toml")
    ],
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only say who leaves when, who will not make it and what would help."),
    ] = False,
    go: Annotated[
        bool,
        typer.Option(
            "--go", help="Tell the evacuation of this plan that runs to switch over what it has brought over."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder for the record, and each guest's result and log (default: PLAN-evacuation).",
            metavar="DIR",
        ),
    ] = None,
    order: Annotated[
        str,
        typer.Option(
            help=f"For comparison, leave as others do without forecasts: {', '.join(BASELINES)}.",
            metavar="NAME",
            autocompletion=lambda: [PLANNED, *BASELINES],
        ),
    ] = PLANNED,
    json: Json = False,
) -> None:
    """Move all guests of a host elsewhere before a deadline.

    Order and number at once come from forecasts. Each guest leaves by pagethrift migrate, or libvirt migrate,
    in a process of its own. Killed or interrupted, start it again: guests that are out are left alone. Ctrl-C
    breaks off what does not switch over yet; a second one, also that.
    """
    if go and (dry_run or out):
        raise UsageError("--go only tells the evacuation that runs; leave the other options out")
    if order not in (PLANNED, *BASELINES):
        raise UsageError(f"--order {order}: choose one of {', '.join((PLANNED, *BASELINES))}")
    data = read_toml(plan)
    with named(plan):
        asked = read_plan(data)
    file = StateFile(plan)
    if go:
        file.tell_go()
        typer.echo(json_library.dumps({"told": True}) if json else "told to go")
        return
    folder = check_folder(out or plan.with_name(f"{plan.stem}-evacuation"), "--out").absolute()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # --go, before there is anything to switch over
    with file.held():
        code = asyncio.run(_evacuate(asked, plan, file, folder, dry_run, json, order))
    if code:
        sys.exit(code)


async def _evacuate(
    plan: Plan, path: Path, file: StateFile, folder: Path, dry_run: bool, as_json: bool, order: str
) -> int:
    state = file.read() or State(file.plan, time.time(), str(folder))
    state = _again(state, plan, folder)
    if state.went_unix_s is not None:  # a killed one was told to go before
        plan = replace(plan, prestage=None)
    fresh = {each.name for each in plan.guests if each.name not in state.guests}
    await resumed(plan, state)
    planned_too = {Stage.WAITING, Stage.ON_WAY}
    still = [each for each in plan.guests if state.guests[each.name].stage in planned_too]
    if dry_run:  # a guest that nobody could ask, and that was never begun, is planned for as if it ran here
        still = [
            each
            for each in plan.guests
            if each in still
            or (each.name in fresh and each.known and state.guests[each.name].stage is Stage.IN_DOUBT)
        ]
    on_way = [name for name, each in state.guests.items() if each.stage is Stage.ON_WAY]
    known = await know(plan, still, on_way, folder, path.parent, time.time(), complain)
    now_s, began_s = time.time(), state.began_unix_s
    switch_s = None
    if plan.prestage is not None and plan.prestage.switch is not None:
        switch_s = max(0.0, plan.prestage.switch.unix_s(began_s) - now_s)
    costs = {name: (each.costs, each.ram_bytes) for name, each in known.items()}
    made = outline(plan, costs, max(0.0, plan.deadline.unix_s(began_s) - now_s), switch_s, order)
    said = planned(plan, made, known)
    if as_json:
        typer.echo(json_library.dumps({"type": "plan", **said}))
    else:
        show_plan(said, Console() if sys.stdout.isatty() else Console(width=140))
    for name, each in state.guests.items():
        if each.stage in (Stage.OUT, Stage.IN_DOUBT):
            complain(f"{name}: {each.stage.value} before this began; {each.said}")
    in_doubt = any(each.stage is Stage.IN_DOUBT for each in state.guests.values())
    if dry_run:
        return GuestError.exit_code if in_doubt else 0
    if not still:
        file.remove()
        return _code({each.stage for each in state.guests.values()}, interrupted=False)
    return await _carry_out(plan, made, known, state, file, folder, as_json)


def _again(state: State, plan: Plan, folder: Path) -> State:
    """Return the state to go on with; the deadline of one whose guests are all settled is over."""
    on_way = any(each.stage is Stage.ON_WAY for each in state.guests.values())
    names = {each.name for each in plan.guests}
    if on_way and not names.issuperset(n for n, s in state.guests.items() if s.stage is Stage.ON_WAY):
        raise UsageError(f"{state.plan}: a guest that is on its way is no longer in the plan; put it back")
    if state.folder != str(folder) and on_way:
        raise UsageError(
            f"{state.plan}: this evacuation has its results in {state.folder}; give that as --out"
        )
    state.folder = str(folder)
    state.guests = {name: each for name, each in state.guests.items() if name in names}
    return state


async def _carry_out(
    plan: Plan,
    made: Outline,
    known: dict[str, Known],
    state: State,
    file: StateFile,
    folder: Path,
    as_json: bool,
) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    file.write(state)
    evacuation = Evacuation(plan, made, known, state, file, folder)
    loop = asyncio.get_running_loop()
    for number in ending_signals():
        loop.add_signal_handler(number, evacuation.cancel)
    loop.add_signal_handler(signal.SIGUSR1, evacuation.go)
    with View(as_json, plan.deadline.unix_s(state.began_unix_s)) as view:
        await evacuation.run(view.show)
    stages = {each.stage for each in state.guests.values()}
    record = carried_out(plan, made, known, state, folder, time.time(), evacuation.interrupted)
    write_text(folder / "evacuation.json", to_json(record))
    file.remove()
    if as_json:
        typer.echo(json_library.dumps({"type": "result", **record}))
    else:
        show_end(record, Console() if sys.stdout.isatty() else Console(width=140))
    return _code(stages, evacuation.interrupted)


def _code(stages: set[Stage], interrupted: bool) -> int:
    if Stage.IN_DOUBT in stages:
        return GuestError.exit_code
    if interrupted:
        return INTERRUPTED
    return 0 if stages == {Stage.OUT} else LinkError.exit_code

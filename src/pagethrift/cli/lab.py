"""``pagethrift lab``: migrate guests between two hosts on this machine."""

from __future__ import annotations

import json as json_library
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from pagethrift.cli.common import Json
from pagethrift.errors import LabError, PagethriftError, UsageError
from pagethrift.lab.compare import compare
from pagethrift.lab.doctor import CheckStatus, examine
from pagethrift.lab.matrix import read_compared
from pagethrift.lab.recording import record as record_scenario
from pagethrift.lab.run import Event
from pagethrift.lab.scenario import Scenario, parse_mode, read_scenario
from pagethrift.model.run_result import DiskCheck
from pagethrift.report.runs import from_run_result
from pagethrift.report.summary import Row, as_json, rows
from pagethrift.report.tables import HEADINGS, cells, fitting
from pagethrift.units import format_bytes, format_seconds, parse_bandwidth, parse_seconds
from pagethrift.whole_file import check_folder, check_output

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Migrate guests between two hosts on this machine: check it, run scenarios, compare modes.",
    epilog="Example: pagethrift lab compare scenarios/demo.toml --out results/demo",
)

ScenarioFile = Annotated[Path, typer.Argument(help="A scenario file.", metavar="SCENARIO.toml")]
Out = Annotated[Path, typer.Option(help="The folder for the result files.", metavar="DIR")]


@app.command(epilog="Example: pagethrift lab doctor")
def doctor(json: Json = False) -> None:
    """Show what this machine can do for the lab, and what is missing.

    Exit codes: 0 the lab can run, 6 something that it needs is missing.
    """
    checks = examine()
    if json:
        typer.echo(json_library.dumps([asdict(check) for check in checks], indent=1))
    else:
        table = Table("", "check", "found", "what to do", box=None)
        marks = {CheckStatus.OK: "ok", CheckStatus.DEGRADED: "limited", CheckStatus.MISSING: "MISSING"}
        for check in checks:
            table.add_row(marks[check.status], check.name, check.detail, check.remedy)
        Console().print(table)
    if any(check.status is CheckStatus.MISSING for check in checks):
        sys.exit(LabError.exit_code)


@app.command(epilog="Example: pagethrift lab run scenarios/demo.toml --mode pagethrift --out results/one")
def run(
    scenario: ScenarioFile,
    out: Out,
    mode: Annotated[
        str | None,
        typer.Option(help="The mode to run instead of the scenario's first, e.g. pagethrift or plain."),
    ] = None,
    check_ram: Annotated[
        bool,
        typer.Option("--check-ram", help="Compare all RAM byte by byte instead of timing the migration."),
    ] = False,
    json: Json = False,
) -> None:
    """Run a scenario once, in one mode.

    Exit codes: 0 done, 2 the scenario is wrong, 6 this machine cannot run it; for a failed migration, those
    of pagethrift migrate.
    """
    chosen = read_scenario(scenario)
    modes = (parse_mode(mode),) if mode else chosen.modes[:1]
    timed, checked = (modes, modes) if check_ram else (modes, ())
    chosen = replace(chosen, modes=() if check_ram else timed, check_ram=checked, repetitions=1)
    _compare(chosen, out, json)


@app.command(
    epilog="Example: pagethrift lab record scenarios/redis.toml --out redis.trace.parquet --seconds 20s"
)
def record(
    scenario: ScenarioFile,
    out: Annotated[Path, typer.Option(help="Write the trace to this file.", metavar="FILE")],
    seconds: Annotated[str, typer.Option(help="How long to record after the first pass.")] = "20s",
    interval: Annotated[
        str, typer.Option(help="The time between two reads of the dirty bitmap; 0: no pause.")
    ] = "200ms",
    json: Json = False,
) -> None:
    """Boot a scenario's guest with its load and record which pages it changes. Nothing migrates.

    Exit codes: 0 recorded, 2 the scenario is wrong, 6 this machine cannot run it or the recording failed.
    """
    check_output(out, "--out")
    console = Console(stderr=True)
    with _interruptible("nothing was recorded"), console.status("starting") as status:
        summary = record_scenario(
            read_scenario(scenario),
            out,
            parse_seconds(seconds),
            parse_seconds(interval),
            _Shown(console, status),
        )
    if json:
        typer.echo(json_library.dumps(summary))
        return
    typer.echo(
        f"{out}: {summary['sweeps']} sweeps, {summary['rows']} rows, {format_bytes(out.stat().st_size)}"
    )
    for warning in summary["warnings"]:
        print(f"pagethrift: warning: {warning}", file=sys.stderr)


@app.command(
    name="compare",
    epilog="Example: pagethrift lab compare scenarios/counters.toml scenarios/hot-zipf.toml --mode plain "
    "--mode pagethrift --repetitions 5 --out results/two",
)
def compare_modes(
    scenarios: Annotated[
        list[Path],
        typer.Argument(help="Scenario files, or files that name several scenarios.", metavar="FILE.toml..."),
    ],
    out: Out,
    mode: Annotated[
        list[str] | None, typer.Option(help="A mode to run instead of the scenarios' modes; repeatable.")
    ] = None,
    repetitions: Annotated[
        int | None, typer.Option(min=1, help="The number of runs of each mode, instead of the scenarios'.")
    ] = None,
    bandwidth: Annotated[
        str | None,
        typer.Option(help="The rate of the link, instead of the scenarios'; give each rate its own --out."),
    ] = None,
    json: Json = False,
) -> None:
    """Run all modes of one or more scenarios and compare them.

    A run whose result file exists is not repeated. --json writes one line for each scenario.

    Exit codes: 0 done, 2 a scenario is wrong, 6 a run failed, or RAM or disk are wrong after a migration.
    """
    chosen = [one for path in scenarios for one in read_compared(path)]
    if mode:
        chosen = [replace(one, modes=tuple(parse_mode(text) for text in mode)) for one in chosen]
    if repetitions:
        chosen = [replace(one, repetitions=repetitions) for one in chosen]
    if bandwidth:
        rate = parse_bandwidth(bandwidth)
        chosen = [replace(one, link=replace(one.link, bandwidth_bps=rate)) for one in chosen]
    names = [one.name for one in chosen]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(
            f"two scenarios are named {min(twice)}, so their result files would be the same; rename one"
        )
    failures: list[PagethriftError] = []
    for one in chosen:
        try:
            _compare(one, out, json)
        except UsageError:
            raise
        except PagethriftError as error:
            failures.append(error)
            if len(chosen) > 1:
                print(f"pagethrift: {one.name}: {error}", file=sys.stderr)
    if len(chosen) > 1 and failures:
        raise LabError(f"{len(failures)} of {len(chosen)} scenarios had failures; see above")
    if failures:
        raise failures[0]


def _compare(scenario: Scenario, out: Path, json: bool) -> None:
    check_folder(out, "--out")
    console = Console(stderr=True)
    kept = f"finished runs are in {out}; repeat the command to run the others"
    with _interruptible(kept), console.status("starting") as status:
        shown = _Shown(console, status)
        results = compare(scenario, out, shown)
    summary = rows(from_run_result(result) for result in results)
    disks = [(result.mode, result.disk) for result in results if result.disk]
    if json:
        document = {
            "scenario": scenario.name,
            "rows": [as_json(row) for row in summary],
            "disks": [{"mode": mode, **asdict(disk)} for mode, disk in disks],
        }
        typer.echo(json_library.dumps(document))
    else:
        _print(scenario, summary, disks, out)
    if any(row.ram_differing_pages for row in summary):
        raise LabError("source and destination hold different RAM; see the result files")
    if not all(disk.sound for _, disk in disks):
        raise LabError("the shared disk is damaged after a migration; see the result files")
    if shown.failed:
        raise LabError(f"{shown.failed} runs failed; repeat the command to try them again")


@contextmanager
def _interruptible(what_remains: str) -> Iterator[None]:
    """On Ctrl-C or SIGTERM stop everything that was started, print one line and exit with code 130."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        print(f"pagethrift: interrupted; {what_remains}", file=sys.stderr)
        sys.exit(130)
    finally:
        signal.signal(signal.SIGTERM, before)


class _Shown:
    """Shows stages on one changing line, and runs and failures as lines that stay."""

    def __init__(self, console: Console, status: Status) -> None:
        self.failed = 0
        """how many runs have failed"""
        self._console = console
        self._status = status

    def __call__(self, event: Event) -> None:
        self.failed += event.stage == "failed"
        if event.stage in ("run", "kept", "failed"):
            self._console.print(f"{event.stage}: {event.detail}", highlight=False, markup=False)
        progress = event.progress
        if progress is None:
            self._status.update(escape(f"{event.stage} {event.detail}"))
            return
        words = [f"{key} {progress[key]}" for key in ("phase", "round") if progress.get(key) is not None]
        words.append(format_seconds(progress.get("elapsed_s") or 0))
        if progress.get("sent_bytes"):
            words.append(f"sent {format_bytes(progress['sent_bytes'])}")
        if progress.get("predicted_downtime_s"):
            words.append(f"predicted downtime {format_seconds(progress['predicted_downtime_s'])}")
        self._status.update(escape(f"{event.detail}: " + ", ".join(words)))


def _print(scenario: Scenario, summary: list[Row], disks: list[tuple[str, DiskCheck]], out: Path) -> None:
    console = Console()
    lines = [HEADINGS, *(cells(row, intervals=False) for row in summary if row.runs)]
    headings, *shown = fitting(lines, console.width)
    table = Table(
        *headings, title=f"{scenario.name}: medians", title_justify="left", box=None, pad_edge=False
    )
    for line in shown:
        table.add_row(*line)
    console.print(table)
    for row in summary:
        if row.ram_compared_bytes:
            console.print(f"RAM compared ({row.mode}): {row.ram}")
    for mode, disk in disks:
        clean = "clean" if disk.fsck_clean else "DAMAGED"
        wrong = f"{disk.files_wrong} wrong of {disk.files_checked} files"
        console.print(f"disk checked ({mode}): file system {clean}, {wrong}")
    console.print(f"result files: {out}; pagethrift report {out} shows all measures with their spread")

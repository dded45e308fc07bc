"""Showing an evacuation: its plan, and how far it is, as a live table, plain lines or JSON lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pagethrift.cli.progress import give_up_output
from pagethrift.drain.run import Row
from pagethrift.drain.state import Stage
from pagethrift.errors import one_line
from pagethrift.units import format_bandwidth, format_bytes, format_seconds

COLUMNS = ("GUEST", "STAGE", "PHASE", "DONE", "SENT", "LINK", "DOWNTIME", "LIMIT", "OUT PLANNED", "OUT")
LINES_S = 5.0
"""between two lines where the output is no terminal"""
SAID_SHOWN = 160


def show_plan(data: Mapping[str, Any], console: Console) -> None:
    """Show what is planned, what others would come to, and who will not make it."""
    staging = data["staging"]
    if staging is not None:
        ready, kept = format_seconds(staging["ready_s"] or 0.0), format_bandwidth(staging["kept_bps"])
        console.print(
            f"brought over before: {', '.join(staging['staged']) or 'none'}, ready after {ready}",
            soft_wrap=True,
        )
        console.print(f"while they wait they take {kept}; times below count from the word to go")
    table = Table(
        "GUEST",
        "STARTS",
        "OUT",
        "OUT AT WORST",
        "DOWNTIME",
        "BYTES",
        "IN TIME",
        title="plan",
        title_justify="left",
    )
    for each in data["guests"]:
        table.add_row(
            each["name"], _time(each["begins_s"]), _time(each["out_s"]), _time(each["worst_out_s"]),
            _time(each["downtime_s"]), format_bytes(each["bytes"]), each["verdict"],
        )  # fmt: skip
    console.print(table)
    policy = data["policy"]
    rows = Table("ORDER", "LAST OUT", "LATE", "NEVER", "BYTES", title="against", title_justify="left")
    for each in ({**data, "name": f"{policy['name']}, {policy['at_once']} at once"}, *data["baselines"]):
        rows.add_row(
            each["name"], _time(each["last_out_s"]), str(len(each["late"])), str(len(each["never"])),
            format_bytes(each["bytes"]),
        )  # fmt: skip
    console.print(rows)
    console.print(f"deadline: {format_seconds(data['deadline_s'])} from now")
    for line in problems(data):
        console.print(Text(line), soft_wrap=True)
    for line in data["warnings"]:
        console.print(Text(f"warning: {line}"), soft_wrap=True)


def problems(data: Mapping[str, Any]) -> list[str]:
    """Return a line for each guest that may not make it: what is wrong and what would help."""
    words = {
        "no": "will not make it",
        "perhaps": "may not make it",
        "forced": "is switched over above its downtime limit",
    }
    return [
        f"{each['name']} {words[each['verdict']]}; what would help: {'; '.join(each['helps']) or 'unknown'}"
        for each in data["guests"]
        if each["verdict"] in words
    ]


def show_end(data: Mapping[str, Any], console: Console) -> None:
    """Show what came of it, and where each guest is that is not out."""
    table = Table(
        "GUEST", "STAGE", "OUT", "DOWNTIME", "LIMIT", "BYTES", title="evacuated", title_justify="left"
    )
    for each in data["guests"]:
        sent = format_bytes(each["bytes"]) if each["bytes"] is not None else ""
        table.add_row(
            each["name"], each["stage"], _time(each["out_s"]), _time(each["downtime_s"]),
            _time(each["downtime_limit_s"]), sent,
        )  # fmt: skip
    console.print(table)
    for each in data["guests"]:
        if each["stage"] != Stage.OUT.value:
            console.print(
                Text(f"{each['name']}: {each['stage']}; {each['said'] or 'not started'}"), soft_wrap=True
            )


class View:
    """How far it is: JSON lines, a live table on a terminal, or a line now and then."""

    def __init__(self, as_json: bool, deadline_unix_s: float) -> None:
        self._console = Console()
        self._json = as_json
        self._deadline_unix_s = deadline_unix_s
        self._live: Live | None = None
        if not as_json and self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._shown_s, self._stages = float("-inf"), ""
        self._gone = False

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, rows: Sequence[Row]) -> None:
        """Show it if that is possible; an evacuation goes on without a reader."""
        if self._gone:
            return
        try:
            self._show(rows)
        except (OSError, ValueError):
            self._gone = True
            give_up_output()

    def _show(self, rows: Sequence[Row]) -> None:
        now_s, stages = time.monotonic(), " ".join(each.stage for each in rows)
        left_s = self._deadline_unix_s - time.time()
        if self._live is not None:
            self._live.update(_table(rows, left_s), refresh=True)
            return
        due_s = 1.0 if self._json else LINES_S
        if stages == self._stages and now_s - self._shown_s < due_s:
            return
        self._stages, self._shown_s = stages, now_s
        if self._json:
            guests = [asdict(each) for each in rows]
            line = json.dumps({"type": "progress", "left_s": round(left_s, 1), "guests": guests})
        else:
            line = _line(rows, left_s)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _line(rows: Sequence[Row], left_s: float) -> str:
    counts = [f"{sum(each.stage is stage for each in rows)} {stage.value}" for stage in Stage]
    moving = [f"{each.name} ({each.phase or 'starting'})" for each in rows if each.stage is Stage.ON_WAY]
    return f"{_left(left_s)}: {', '.join(counts)}{'; ' if moving else ''}{', '.join(moving)}"


def _left(left_s: float) -> str:
    return f"{format_seconds(abs(left_s))} {'to the deadline' if left_s >= 0 else 'past the deadline'}"


def _table(rows: Sequence[Row], left_s: float) -> Table:
    table = Table(*COLUMNS, title=f"evacuation, {_left(left_s)}", title_justify="left")
    for each in rows:
        first = f"{each.done:.0%}" if each.done is not None else f"round {each.round}" if each.round else ""
        table.add_row(
            each.name, each.stage.value, each.phase, first,
            format_bytes(each.sent_bytes) if each.sent_bytes else "",
            format_bandwidth(each.link_bps) if each.link_bps else "",
            _time(each.predicted_downtime_s), _time(each.downtime_limit_s), _time(each.planned_out_s),
            _time(each.out_s),
        )  # fmt: skip
    notes = [one_line(f"{each.name}: {each.said}", SAID_SHOWN) for each in rows if each.said]
    if notes:
        table.caption = Text("\n".join(notes))
    return table


def _time(seconds: float | None) -> str:
    return "" if seconds is None else format_seconds(seconds)

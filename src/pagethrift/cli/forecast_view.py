"""Showing a forecast in the making, on standard error, and the forecast itself."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pagethrift.cli.exits import complain
from pagethrift.forecast.work import Simulated
from pagethrift.live.recording import RecordProgress
from pagethrift.model.forecast import Forecast, Interval, ModeForecast
from pagethrift.units import format_bandwidth, format_bytes, format_seconds

LINE_S = 5.0
"""seconds, and a quarter of the migrations, from line to line where standard error is no terminal"""


class Watching:
    """Progress on standard error: one line that is redrawn on a terminal, a few lines in a log."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )
        self._said_s = 0.0
        self._quarter = 0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def watched(self, look: RecordProgress) -> None:
        """Show one look at the guest being watched."""
        due = look.elapsed_s - self._said_s >= LINE_S or look.sweeps == 1
        if due:
            self._said_s = look.elapsed_s
        self._say(f"watching the guest: {look.elapsed_s:.0f} s, {look.last_rows} pages in the last look", due)

    def simulated(self, look: Simulated) -> None:
        """Show one look at the simulations."""
        quarter = 4 * look.done // look.asked
        due = quarter > self._quarter
        self._quarter = quarter
        self._say(f"simulating: {look.done} of {look.asked} migrations", due)

    def _say(self, line: str, due: bool) -> None:
        if self._live is not None:
            self._live.update(Text(line), refresh=True)
        elif due:
            complain(line)


def shown(made: Forecast, now_unix_s: float) -> None:
    """Print a forecast for people; ``now_unix_s`` tells whether it is still valid."""
    console = Console()
    console.print(Text(_headline(made)))
    console.print(_table(made))
    console.print(Text(f"Recommended: {made.recommendation.reason}"))
    if made.recommendation.name:
        command = "pagethrift libvirt migrate" if made.libvirt else "pagethrift migrate"
        console.print(Text(f"  {command} {made.recommendation.options}".rstrip() + " ..."))
    for mode in made.modes:
        if mode.converges_from_bps is not None:
            console.print(Text(f"{mode.name} converges from {format_bandwidth(mode.converges_from_bps)} on."))
    console.print(Text(_cost(made, now_unix_s)))
    for line in made.left_out:
        console.print(Text(f"Not simulated: {line}."))
    for warning in made.warnings:
        complain(f"warning: {warning}")


def _headline(made: Forecast) -> str:
    return (
        f"{made.guest}: {format_bytes(made.used_bytes)} used of {format_bytes(made.ram_bytes)},"
        f" {format_bandwidth(made.bandwidth_bps)} within {made.bandwidth_spread:.0%}, downtime limit"
        f" {format_seconds(made.downtime_limit_s)}, watched for {format_seconds(made.recorded_s)}."
        " Medians, with 90 % intervals."
    )


def _table(made: Forecast) -> Table:
    table = Table(box=None)
    for heading in ("mode", "converges", "total time", "downtime", "RAM data", "relay CPU", "relay memory"):
        table.add_column(heading, no_wrap=heading in ("mode", "converges"))
    for mode in made.modes:
        chosen = mode.name == made.recommendation.name
        table.add_row(*map(Text, _cells(mode)), style="bold" if chosen else "")
    return table


def _cells(mode: ModeForecast) -> list[str]:
    return [
        mode.name,
        f"{mode.converges} ({mode.converged} of {mode.simulated})",
        _words(mode.total_time_s, format_seconds),
        _words(mode.downtime_s, format_seconds),
        _words(mode.data_bytes, format_bytes),
        _words(mode.relay_cpu_s, format_seconds),
        _words(mode.relay_peak_rss_bytes, format_bytes),
    ]


def _words(found: Interval | None, show: Callable[[float], str]) -> str:
    if found is None:
        return "-"
    return f"{show(found.median)} ({show(found.low)} to {show(found.high)})"


def _cost(made: Forecast, now_unix_s: float) -> str:
    logged = f"{made.cost.logged_s:.1f} s under dirty logging; " if made.cost.logged_s else ""
    left_s = made.expires_unix_s - now_unix_s
    until = f"expires in {left_s / 60:.0f} min" if left_s > 0 else "expired: watch the guest again"
    return f"Cost for the guest: {logged}{made.cost.what}. The forecast {until}."

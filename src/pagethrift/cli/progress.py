"""Showing a migration: as a live table on a terminal, plain lines in a log, or JSON lines."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pagethrift.cli.exits import complain
from pagethrift.live.watch import Progress
from pagethrift.model.result import MigrationResult, Mode, PageCounters
from pagethrift.units import format_bandwidth, format_bytes, format_seconds

LINE_S = 2.0


class View(Protocol):
    """A display for one migration."""

    def show(self, progress: Progress) -> None:
        """Show one look at the running migration."""
        ...

    def finish(self, result: MigrationResult, where: str = "") -> None:
        """Show the end of a completed migration and, where that had to be asked, where the guest is."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def view(as_json: bool, quiet: bool = False) -> View:
    """Return JSON lines if ``as_json``, otherwise a live table on a terminal or plain lines.

    ``quiet``: lines for people are not wanted.
    """
    if as_json:
        return Harmless(JsonLines())
    if quiet:
        return Harmless(Silence())
    console = Console()
    return Harmless(LiveTable(console) if console.is_terminal else Lines())


class Harmless:
    """A view whose reader may go, whose disk may fill, whose terminal may close: only the view is dropped."""

    def __init__(self, shown: View) -> None:
        self._shown: View | None = shown

    def show(self, progress: Progress) -> None:
        """Show it if that is possible."""
        self._try(lambda shown: shown.show(progress))

    def finish(self, result: MigrationResult, where: str = "") -> None:
        """Show it if that is possible; warnings that cannot be shown go to standard error."""
        self._try(lambda shown: shown.finish(result, where))
        if self._shown is None:
            for warning in result.warnings:
                complain(f"warning: {warning}")

    def __enter__(self) -> Self:
        self._try(lambda shown: shown.__enter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._try(lambda shown: shown.__exit__(kind, error, trace))

    def _try(self, act: Callable[[View], object]) -> None:
        if self._shown is None:
            return
        try:
            act(self._shown)
            sys.stdout.flush()
        except (OSError, ValueError):
            self._shown = None
            give_up_output()


def give_up_output() -> None:
    """Send standard output to nowhere: what is still in its buffer must not fail when the process ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)


class _Plain:
    """A view that has nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class JsonLines(_Plain):
    """One object a line: ``{"type": "progress", ...}``, and ``{"type": "result", ...}`` at the end."""

    def show(self, progress: Progress) -> None:
        """Print one progress line."""
        _print_line({"type": "progress", **asdict(progress)})

    def finish(self, result: MigrationResult, where: str = "") -> None:
        """Print the whole record as the last line."""
        more = {"where": where} if where else {}
        _print_line({"type": "result", **json.loads(result.to_json()), **more})


class Silence(_Plain):
    """Nothing: a log tells it."""

    def show(self, progress: Progress) -> None:
        """Show nothing."""

    def finish(self, result: MigrationResult, where: str = "") -> None:
        """Show nothing."""


class Lines(_Plain):
    """A line every two seconds and at each change of phase, for logs."""

    def __init__(self) -> None:
        self._shown_s = float("-inf")
        self._phase = ""

    def show(self, progress: Progress) -> None:
        """Print a line after two seconds or at a change of phase."""
        if progress.phase == self._phase and progress.elapsed_s - self._shown_s < LINE_S:
            return
        self._shown_s, self._phase = progress.elapsed_s, progress.phase
        print(", ".join(f"{name} {value}" for name, value in _rows(progress)), flush=True)

    def finish(self, result: MigrationResult, where: str = "") -> None:
        """Print the measures, one a line."""
        for name, value in summary(result, where):
            print(f"{name}: {value}")


class LiveTable:
    """A table that is redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, progress: Progress) -> None:
        """Redraw."""
        self._live.update(_table("migrating", _rows(progress)), refresh=True)

    def finish(self, result: MigrationResult, where: str = "") -> None:
        """Replace the live table by the summary."""
        self._live.stop()
        title = "migrated" if result.converged else "migrated, forced"
        self._console.print(_table(title, summary(result, where)))


def summary(result: MigrationResult, where: str = "") -> list[tuple[str, str]]:
    """Return what a reader wants to know of a finished migration, as name and text."""
    rows = [
        (
            "strategy",
            result.strategy if result.mode is Mode.RELAY else f"plain QEMU {_features(result)}".strip(),
        ),
        ("total time", format_seconds(result.total_time_s)),
        ("downtime", _seconds(result.downtime_s)),
        ("downtime by QEMU", _seconds(result.qemu_downtime_s)),
        ("on the link", format_bytes(result.transferred_bytes)),
        *_driver(result),
        ("first round", format_bytes(result.first_round_bytes)),
        ("sent again", format_bytes(result.retransferred_bytes)),
        ("pages", _pages(result.pages)),
        ("rounds", str(len(result.rounds))),
        ("switchover", result.switchover_reason),
    ]
    if result.forced_at_s is not None:
        rows.append(("forced at", format_seconds(result.forced_at_s)))
    if result.ratio is not None and result.one_pass_bound_s is not None:
        rows.append(("against one pass", f"{result.ratio:.2f} x {format_seconds(result.one_pass_bound_s)}"))
    if result.relay_cpu_s is not None and result.relay_peak_rss_bytes is not None:
        memory = format_bytes(result.relay_peak_rss_bytes)
        rows.append(("relay", f"{result.relay_cpu_s:.1f} s CPU, {memory} memory"))
    if result.source_cpu_s is not None:
        rows.append(("source QEMU", f"{result.source_cpu_s:.1f} s CPU"))
    if where:
        rows.append(("where", where))
    return rows + [("warning", text) for text in result.warnings]


def _rows(progress: Progress) -> list[tuple[str, str]]:
    rows = [
        ("elapsed", format_seconds(progress.elapsed_s)),
        ("phase", progress.phase + (" (forced)" if progress.forced else "")),
        ("round", str(progress.round)),
        ("remaining", f"{format_bytes(progress.remaining_bytes)} of {format_bytes(progress.ram_bytes)}"),
        ("sent", format_bytes(progress.sent_bytes)),
        ("pages", _pages(progress.pages)),
        ("held", f"{progress.held_pages} pages"),
        ("link", format_bandwidth(progress.link_bps) if progress.link_bps else "unknown"),
        ("round ends in", _seconds(progress.eta_s)),
    ]
    if progress.predicted_downtime_s is not None:
        rows.append(("downtime if stopped now", _seconds(progress.predicted_downtime_s)))
    if progress.warning:
        rows.append(("warning", progress.warning))
    return rows


def _table(title: str, rows: list[tuple[str, str]]) -> Table:
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(style="dim")
    table.add_column()
    for name, value in rows:
        table.add_row(name, value)
    return table


def _driver(result: MigrationResult) -> list[tuple[str, str]]:
    """Return what the driver counted, under its name: bytes that QEMU gave to the relay."""
    counted = result.driver_job.get("memory_processed")
    if not isinstance(counted, int):
        return []
    return [(f"{result.driver} counts", f"{format_bytes(counted)} from QEMU into the relay")]


def _features(result: MigrationResult) -> str:
    return " ".join(f"{name}={value}" for name, value in result.features.items())


def _pages(pages: PageCounters) -> str:
    return ", ".join(f"{count} {name}" for name, count in pages.named())


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else format_seconds(value)


def _print_line(data: object) -> None:
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()

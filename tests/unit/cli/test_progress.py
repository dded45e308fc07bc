"""A migration as shown to people and to programs."""

from __future__ import annotations

import io
import json
from dataclasses import fields, replace

import pytest
from rich.console import Console

from pagethrift.cli.progress import Harmless, LiveTable, summary, view
from pagethrift.live.watch import Progress
from pagethrift.model.result import Mode, PageCounters
from tests.unit.model.test_result import RESULT

LOOK = Progress(
    elapsed_s=1.5,
    phase="active",
    round=2,
    ram_bytes=1 << 30,
    remaining_bytes=5_000_000,
    sent_bytes=306_000_000,
    pages=PageCounters(full=1, delta=2, zero=3, skipped=4),
    held_pages=0,
    link_bps=12_500_000.0,
    predicted_downtime_s=0.184,
    eta_s=None,
    forced=False,
    warning="",
)


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with view(as_json=True) as shown:
        assert isinstance(shown, Harmless)
        shown.show(LOOK)
        shown.finish(RESULT)
    first, last = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["type"], first["round"], first["pages"]["skipped"]) == ("progress", 2, 4)
    assert (last["type"], last["schema"]) == ("result", "pagethrift.migration-result")


def test_plain_lines_every_two_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    shown = view(as_json=False)
    assert isinstance(shown, Harmless)
    for tenth in range(50):
        shown.show(replace(LOOK, elapsed_s=tenth / 10))
    shown.show(replace(LOOK, elapsed_s=5.0, phase="completed"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "round 2" in lines[0]
    assert "306 MB" in lines[0]
    assert "184 ms" in lines[0]


def test_nothing_for_people_where_a_log_tells_it(capsys: pytest.CaptureFixture[str]) -> None:
    with view(as_json=False, quiet=True) as shown:
        shown.show(LOOK)
        shown.finish(RESULT)
    assert capsys.readouterr() == ("", "")
    view(as_json=True, quiet=True).show(LOOK)
    assert json.loads(capsys.readouterr().out)["type"] == "progress"


def test_live_table() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100)
    with LiveTable(console) as shown:
        shown.show(replace(LOOK, forced=True, warning="odd device"))
        shown.finish(RESULT)
    assert "1 full, 2 delta, 3 zero, 4 skipped" in text.getvalue()


def test_every_page_counter_is_shown() -> None:
    pages = PageCounters(*(1000 + i for i, _ in enumerate(fields(PageCounters))))
    text = dict(summary(replace(RESULT, pages=pages)))["pages"]
    for name, count in pages.named():
        assert f"{count} {name}" in text


def test_summary_of_a_plain_migration_names_its_features() -> None:
    rows = dict(summary(replace(RESULT, mode=Mode.PLAIN, forced_at_s=3.0, converged=False, downtime_s=None)))
    assert rows["strategy"] == "plain QEMU auto-converge=True"
    assert rows["forced at"] == "3.0 s"
    assert rows["downtime"] == "unknown"


def test_a_downtime_that_is_not_known_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    view(as_json=False).show(replace(LOOK, predicted_downtime_s=None))
    view(as_json=False).show(LOOK)
    unknown, known = capsys.readouterr().out.splitlines()
    assert "downtime" not in unknown
    assert "downtime if stopped now 184 ms" in known

"""All scenarios at a glance."""

from __future__ import annotations

from pagethrift.report.overview import overviews
from pagethrift.report.summary import by_scenario
from pagethrift.report.tables import overview_markdown
from tests.unit.report.samples import migration, run


def test_all_scenarios_at_a_glance() -> None:
    times = {"pagethrift": 5.0, "plain": 20.0, "xbzrle": 10.0}
    runs = [run(mode, t, i, scenario=s) for s in ("a", "b") for mode, t in times.items() for i in range(3)]
    best, each = overviews({**by_scenario(runs), "alone": [run("pagethrift")]})
    assert [row[0] for row in best.rows] == ["a", "b"]
    assert best.rows[0][1] == "0.50 (0.50 to 0.50) of xbzrle: wins"
    assert each.headings == ("scenario", "plain", "xbzrle")
    assert each.rows[1] == ("b", "0.25 (0.25 to 0.25)", "0.50 (0.50 to 0.50)")
    assert "| a | 0.50 (0.50 to 0.50) of xbzrle: wins |" in overview_markdown(best)
    assert overviews({"alone": [run("pagethrift")]}) == []


def test_a_forced_rival_and_an_unknown_measure_are_said() -> None:
    forced = migration("plain", 20.0, converged=False, forced_at_s=9.0)
    runs = [run("pagethrift", client={}), run("plain", migration=forced, client={})]
    best, _ = overviews({"a": runs})
    assert best.headings == ("scenario", "TT", "on the link", "blackout", "throughput during")
    assert best.rows[0][1] == "0.50 of plain (forced): too few runs to tell"
    assert best.rows[0][4] == "-"


def test_a_mode_that_did_not_run_in_a_scenario_has_an_empty_cell() -> None:
    _, each = overviews(
        {
            "a": [run("pagethrift", 5.0), run("xbzrle", 10.0)],
            "b": [run("pagethrift", 5.0), run("plain", 20.0), run("thesis", 1.0)],
        }
    )
    assert each.headings == ("scenario", "xbzrle", "plain")
    assert each.rows == (("a", "0.50", "-"), ("b", "-", "0.25"))

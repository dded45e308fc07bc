"""The study of scalar simulators: formulas by hand, a guest's numbers, shares of content, the tables."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts.studies.scalar import __main__ as study
from scripts.studies.scalar import chart, simgrid, tables
from scripts.studies.scalar.content import shares
from scripts.studies.scalar.formulas import NEVER, Prediction, Scalars, cloudsim, precopy
from scripts.studies.scalar.guest import dirty_bps, facts

from pagethrift.errors import UsageError
from pagethrift.model.result import PageCounters
from pagethrift.trace.read import Trace, Writes
from tests.traces import made, run

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "docs/results/scalar.json"
HALVING = Scalars(ram_bytes=1000, dirty_bps=50, working_set_bytes=1e9, link_bps=100)
"""each round takes half as long as the one before it"""
needs_simgrid = pytest.mark.skipif(bool(simgrid.missing()), reason=f"NOT CHECKED: needs {simgrid.NEEDS}")


def test_cloudsim_takes_the_16_s_of_its_own_comment() -> None:
    """PowerDatacenter.java: "around 16 seconds for 1024 MB using 1 Gbit/s network"."""
    guest = Scalars(ram_bytes=1000e6, dirty_bps=1e9, working_set_bytes=1e9, link_bps=125e6)
    assert cloudsim(guest) == Prediction(16.0, None, 1000e6)
    assert cloudsim(guest, 1.0) == Prediction(8.0, None, 1000e6)


def test_precopy_by_hand() -> None:
    # 1000, 500, 250, 125, 62.5, 31.25, 15.625, 7.8125, 3.90625 bytes, then 1.953125 of at most 3
    assert precopy(HALVING) == Prediction(19.98046875, 0.01953125, 1998.046875)
    # 1000 and 500 bytes, then 250 of at most 300
    assert precopy(HALVING, downtime_limit_s=3.0) == Prediction(17.5, 2.5, 1750.0)


def test_precopy_is_bounded_by_the_working_set() -> None:
    busy = replace(HALVING, dirty_bps=1000)
    assert precopy(replace(busy, working_set_bytes=2)) == Prediction(10.02, 0.02, 1002.0)
    assert precopy(replace(busy, working_set_bytes=4)) == NEVER
    assert precopy(replace(HALVING, dirty_bps=100)) == NEVER
    assert precopy(replace(HALVING, dirty_bps=0)) == Prediction(10.0, 0.0, 1000.0)
    assert precopy(HALVING, horizon_s=15.0) == NEVER


def small(folder: Path) -> Trace:
    """Five pages: one was never seen, two are zero; 3.5 s of writes."""
    time_s = np.array([0.1, 0.2, 0.3, 1.5, 3.2])
    page = np.array([1, 1, 2, 1, 3], np.int32)
    rest = np.zeros(5, np.uint16)
    return replace(
        made(folder),
        content=np.array([7, 8, 0, 0, -1], np.int32),
        writes=Writes(time_s, page, np.ones(5, np.int32), rest, rest, rest),
        duration_s=3.5,
    )


def test_a_guests_numbers(tmp_path: Path) -> None:
    trace = small(tmp_path)
    found = facts(trace)
    assert (found.ram_bytes, found.nonzero_bytes, found.working_set_bytes) == (4 * 4096, 2 * 4096, 3 * 4096)
    # in whole seconds: pages 1 and 2, page 1, none; page 3 is written in a second that the trace cuts off
    assert found.dirty_bps["1"] == pytest.approx(3 * 4096 / 3)
    # 17 windows: page 1 in the first and the second, 2 in the second, 1 in the eighth, 3 in the seventeenth
    assert found.dirty_bps["0.2"] == pytest.approx(5 * 4096 / 3.4)
    assert dirty_bps(trace, 5.0) == pytest.approx(3 * 4096 / 3.5)


def test_shares_that_content_settles(tmp_path: Path) -> None:
    result = replace(
        run(made(tmp_path), "kvm-default"),
        pages=PageCounters(full=1, delta=1, zero=4, skipped=1, compressed=1),
        first_round_bytes=4000,
        retransferred_bytes=1000,
    )
    found = shares(result)
    assert (found.settled, found.hashed) == (0.75, 0.25)
    assert found.never_sent == pytest.approx(1 - (5000 - 4 * 9) / (4 * 4104))
    assert found.on_link == pytest.approx(1 - (4104 + 4 * 9) / 5000)


def group(mode: str, live_converged: int, **changes: Any) -> dict[str, Any]:
    values = {"total_time_s": 10.0, "downtime_s": 0.2, "sent_bytes": 2e8}
    return {
        "scenario": "counters", "traces": "traces", "mode": mode, "bandwidth_bps": 25e6, "channels": 0,
        "runs": 3, "live_converged": live_converged, "ours_converged": True, "live": values,
        "ours": values | {"total_time_s": 11.0}, **changes,
    }  # fmt: skip


def made_up(*groups: dict[str, Any], total_s: float | None = 8.0) -> dict[str, Any]:
    said = {"total_time_s": total_s, "downtime_s": 0.03, "sent_bytes": 1e8}
    names = [*tables.SIMULATORS, "simgrid_0.2s", "simgrid_5s"]
    cell = {"scenario": "counters", "traces": "traces", "bandwidth_bps": 25e6}
    return {
        "guests": [
            {
                "scenario": "counters", "traces": "traces", "ram_bytes": 4e8, "nonzero_bytes": 1e8,
                "working_set_bytes": 3e7, "dirty_bps": {"0.2": 4e7, "1": 2e7, "5": 6e6},
            }
        ],
        "cells": [cell | {"predictions": {name: said for name in names if name != tables.OURS}}],
        "groups": list(groups),
        "content": [],
    }  # fmt: skip


def table(document: dict[str, Any], title: str) -> list[list[str]]:
    """Return the cells of the lines below a heading, without the table's head."""
    below = tables.markdown(document).split(f"## {title}\n")[1].split("## ")[0]
    return [line.strip("| ").split(" | ") for line in below.splitlines() if line.startswith("|")][2:]


def test_the_tables_say_how_far_off_each_simulator_is() -> None:
    document = made_up(group("plain", 3), group("xen", 2))
    assert table(document, "plain") == [
        ["counters, 200 Mbit/s", "10.0", "8.0 (-20%)", "8.0 (-20%)", "8.0 (-20%)", "11.0 (+10%)",
         "200", "30", "200", "200", "100 (-50%)", "200 (+0%)"]
    ]  # fmt: skip
    assert table(document, "total time") == [
        [f"`{mode}`", "1", *["20% (20%)"] * 5, "10% (10%)"] for mode in ("plain", "xen")
    ]
    assert table(document, "downtime")[0] == ["`plain`", "1", "200", *["170 (170) off"] * 2, "0 (0) off"]


def test_forced_migrations_are_only_judged_by_whether_they_end() -> None:
    document = made_up(group("plain", 1, ours_converged=False))
    assert table(document, "plain")[0][1:6] == ["10.0 F", "8.0", "8.0", "8.0", "11.0"]
    assert table(document, "total time") == []
    told = {row[0]: row[1:] for row in table(document, "ends by itself")}
    assert told["SimGrid"] == ["0 of 1", "counters, 200 Mbit/s"]
    assert told["ours"] == ["1 of 1", "-"]
    late = made_up(group("plain", 1), total_s=10.5)  # it ends by itself, but only after the deadline
    assert table(late, "ends by itself")[0][1:] == ["1 of 1", "-"]
    slow = made_up(group("plain", 3), total_s=12.0)  # live it ended after 10 s: late, and right
    assert table(slow, "ends by itself")[0][1:] == ["1 of 1", "-"]


def test_a_simulator_that_never_ends_has_no_error() -> None:
    document = made_up(group("plain", 3), total_s=None)
    assert table(document, "plain")[0][2:6] == ["never", "never", "never", "11.0 (+10%)"]
    assert table(document, "total time")[0][2:] == [*["1 never"] * 5, "10% (10%)"]
    assert table(document, "ends by itself")[0][1:] == ["0 of 1", "counters, 200 Mbit/s"]


def test_a_group_is_taken_from_the_first_file_that_has_it(tmp_path: Path) -> None:
    names = ("total_time_s", "downtime_s", "first_round_bytes", "retransferred_bytes")
    one = {
        "scenario": "counters", "mode": "plain", "bandwidth_bps": 25000000, "runs": 3, "live_converged": 3,
        "simulated_converged": True, "live": dict(zip(names, (9.0, 0.1, 60, 40), strict=True)),
        "simulated": dict(zip(names, (8.0, 0.1, 60, None), strict=True)),
    }  # fmt: skip
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text(json.dumps({"groups": [one]}))
    second.write_text(json.dumps({"groups": [one | {"runs": 5}, one | {"runs": 5, "channels": 2}]}))
    found = list(study.compared([study.Source.parse(f"{first}"), study.Source.parse(f"{second}=elsewhere")]))
    assert [(each["runs"], each["channels"], each["traces"]) for each in found] == [
        (3, 0, "traces"), (5, 2, "elsewhere"),
    ]  # fmt: skip
    assert (found[0]["live"]["sent_bytes"], found[0]["ours"]["sent_bytes"]) == (100.0, None)
    with pytest.raises(UsageError, match="no result of scripts"):
        list(study.compared([study.Source(tmp_path / "none.json", tmp_path)]))


def test_the_committed_answers_of_the_plugin_are_its_algorithm() -> None:
    document = json.loads(RESULT.read_text())
    guests = {(each["traces"], each["scenario"]): each for each in document["guests"]}
    assert len(document["cells"]) > 15
    for cell in document["cells"]:
        known = guests[cell["traces"], cell["scenario"]]
        link_bps = cell["bandwidth_bps"] * 1448 / 1514
        for name, ram, window in (
            ("simgrid_all", "ram_bytes", "1"), ("simgrid", "nonzero_bytes", "1"),
            ("simgrid_0.2s", "nonzero_bytes", "0.2"), ("simgrid_5s", "nonzero_bytes", "5"),
        ):  # fmt: skip
            scalars = Scalars(known[ram], known["dirty_bps"][window], known["working_set_bytes"], link_bps)
            expected = precopy(scalars)
            said = Prediction(**cell["predictions"][name])
            if expected == NEVER:
                assert said == NEVER
                continue
            assert said.total_time_s == pytest.approx(expected.total_time_s, rel=0.002)
            assert said.downtime_s == pytest.approx(expected.downtime_s, abs=0.001)
            assert said.sent_bytes == pytest.approx(expected.sent_bytes, rel=0.002)


def test_the_figure_is_of_the_result_file() -> None:
    drawn = (ROOT / "docs/figures/scalar-simulators.svg").read_text()
    wanted = chart.svg(json.loads(RESULT.read_text()))
    assert drawn.split("<desc")[1].split("</desc>")[0] == wanted.split("<desc")[1].split("</desc>")[0]


def test_the_chart_leaves_out_what_was_forced_and_says_what_never_ends() -> None:
    text = chart.svg(made_up(group("plain", 3), group("pagethrift", 0), total_s=None))
    assert "QEMU's default, counters, 200 Mbit/s: CloudSim never ends, SimGrid never ends, ours 1.10." in (
        html.unescape(text)
    )
    assert "pagethrift, counters" not in text


@needs_simgrid
@pytest.mark.slow
def test_simgrid_itself_by_hand(tmp_path: Path) -> None:
    program = simgrid.build(tmp_path)
    mega = {name: getattr(HALVING, name) * 1e6 for name in ("ram_bytes", "dirty_bps", "link_bps")}
    guest = Scalars(**mega, working_set_bytes=1e9)
    found = simgrid.migrate(program, guest)
    assert found.max_downtime_s == 0.03
    assert found.prediction.total_time_s == pytest.approx(19.98046875, rel=1e-4)
    assert found.prediction.downtime_s == pytest.approx(0.01953125, rel=1e-3)
    assert found.prediction.sent_bytes == pytest.approx(1998.046875e6, rel=1e-4)
    assert simgrid.migrate(program, replace(guest, dirty_bps=1e8)).prediction == NEVER
    bounded = simgrid.migrate(program, replace(guest, dirty_bps=1e9, working_set_bytes=2e6)).prediction
    assert bounded.total_time_s == pytest.approx(10.02, rel=1e-4)
    with pytest.raises(UsageError, match="positive"):
        simgrid.migrate(program, replace(guest, link_bps=0))


def test_without_simgrid_it_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simgrid, "HEADERS", (tmp_path,))
    with pytest.raises(UsageError, match="libsimgrid-dev"):
        simgrid.build(tmp_path)

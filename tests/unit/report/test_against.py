"""pagethrift against QEMU's own modes: which runs make a pair, which mode is best, what is concluded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pagethrift.model.result import Outcome
from pagethrift.model.run_result import RamEquality
from pagethrift.report.against import CLOSE_S, Comparison, Verdict, against, comparisons
from pagethrift.report.load import load
from pagethrift.report.measures import MEASURES
from pagethrift.report.runs import Run
from tests.unit.report.samples import client, migration, result, run, write


def test_ratio_is_taken_between_runs_of_one_repetition() -> None:
    runs = [run("pagethrift", t, i) for i, t in enumerate((5.0, 12.0, 11.0))]
    runs += [run("plain", t, i) for i, t in enumerate((10.0, 20.0, 20.0))]
    runs += [run("xbzrle", t, i) for i, t in enumerate((100.0, 200.0, 200.0))]
    by_name = {one.measure.name: one for one in comparisons(runs)["pagethrift"]}
    time = by_name["TT"]
    assert time.best == "plain"
    assert time.pairs == 3
    assert time.ratio is not None
    assert (time.ratio.low, time.ratio.high) == (0.5, 0.6)
    assert time.verdict is Verdict.WINS
    assert by_name["DT"].verdict is Verdict.UNCLEAR


@pytest.mark.parametrize(
    ("repetitions", "verdict", "ratio"),
    [
        (3, Verdict.LOSES, "2.00 (2.00 to 2.00), 3 pairs"),
        (2, Verdict.TOO_FEW, "2.00 (2.00 to 2.00), 2 pairs"),
        (1, Verdict.TOO_FEW, "2.00, one pair"),
    ],
)
def test_a_loss_is_said_once_there_are_enough_runs(repetitions: int, verdict: Verdict, ratio: str) -> None:
    runs = [
        run(mode, t, i) for mode, t in (("pagethrift", 20.0), ("plain", 10.0)) for i in range(repetitions)
    ]
    (time,) = [one for one in comparisons(runs)["pagethrift"] if one.measure.name == "TT"]
    assert time.verdict is verdict
    assert time.shown_ratio == ratio
    assert time.as_json()["verdict"] == verdict.value


def test_without_pairs_medians_are_compared() -> None:
    (found,) = comparisons([run("pagethrift", 5.0, 0), run("plain", 10.0, 1)]).values()
    assert found[0].pairs == 0
    assert found[0].ratio is not None
    assert found[0].ratio.median == 0.5


def test_runs_made_hours_apart_are_no_pair() -> None:
    own = [run("pagethrift", 5.0, i) for i in range(3)]
    later = [run("plain", 10.0, i, migration=migration("plain", 10.0, began_unix_s=9000.0)) for i in range(3)]
    (time,) = [one for one in comparisons(own + later)["pagethrift"] if one.measure.name == "TT"]
    assert (time.pairs, time.verdict) == (0, Verdict.TOO_FEW)


def test_folders_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    for day, own_s in (("monday", 8.0), ("tuesday", 4.0)):
        qemu_s = own_s / 0.8
        write(
            tmp_path / day / "runs",
            *(result("pagethrift", own_s, i) for i in range(2)),
            *(result("plain", qemu_s, i) for i in range(2)),
        )
    runs = load([tmp_path / "monday" / "runs", tmp_path / "tuesday" / "runs"]).runs
    (time,) = [one for one in comparisons(runs)["pagethrift"] if one.measure.name == "TT"]
    assert time.ratio is not None
    assert (time.ratio.low, time.ratio.high) == pytest.approx((0.8, 0.8))
    assert time.pairs == 4


def test_a_pair_in_which_qemu_sent_nothing_again_is_not_left_out() -> None:
    sent = [0, 10_000_000, 10_000_000, 10_000_000]
    runs = [
        run(mode, 10.0, i, migration=migration(mode, retransferred_bytes=each))
        for mode, values in (("plain", sent), ("pagethrift", [5_000_000] * 4))
        for i, each in enumerate(values)
    ]
    (again,) = [one for one in comparisons(runs)["pagethrift"] if one.measure.name == "RD"]
    assert (again.pairs, again.verdict) == (0, Verdict.TOO_FEW)


def test_nothing_to_compare_with() -> None:
    assert comparisons([run("pagethrift"), run("thesis")]) == {}


def compared(runs: list[Run], key: str, mode: str = "pagethrift") -> Comparison:
    (found,) = [one for one in comparisons(runs)[mode] if one.measure.key == key]
    return found


def repeated(mode: str, *values: float, name: str = "total_time_s", **changes: Any) -> list[Run]:
    return [
        run(mode, repetition=i, migration=migration(mode, **{name: value}, **changes))
        for i, value in enumerate(values)
    ]


def test_a_pair_began_within_half_an_hour() -> None:
    for apart_s, pairs in ((CLOSE_S, 1), (CLOSE_S + 1, 0)):
        own = run("pagethrift", migration=migration("pagethrift", 5.0, began_unix_s=1000.0 + apart_s))
        assert compared([own, run("plain")], "total_time_s").pairs == pairs
        later = run("plain", migration=migration(began_unix_s=1000.0 + apart_s))
        assert compared([run("pagethrift"), later], "total_time_s").pairs == pairs


def test_more_throughput_is_better() -> None:
    def runs(mode: str, rate_per_s: float) -> list[Run]:
        phases = [phase | {"operations_per_s": rate_per_s} for phase in client()["phases"]]
        return [run(mode, repetition=i, client=client(phases=phases)) for i in range(3)]

    qemu = runs("plain", 100.0) + runs("xbzrle", 200.0)
    for own_per_s, verdict in ((400.0, Verdict.WINS), (100.0, Verdict.LOSES), (200.0, Verdict.UNCLEAR)):
        found = compared(runs("pagethrift", own_per_s) + qemu, "operations_per_s_during")
        assert (found.best, found.verdict) == ("xbzrle", verdict)
        assert found.ratio_in_words.startswith(f"{own_per_s / 200:.2f} ")


def test_an_interval_around_one_is_no_difference() -> None:
    runs = repeated("plain", 10.0, 10.0, 10.0) + repeated("pagethrift", 8.0, 9.0, 10.0)
    assert compared(runs, "total_time_s").verdict is Verdict.UNCLEAR
    runs = repeated("plain", 10.0, 10.0, 10.0) + repeated("pagethrift", 8.0, 9.0, 9.9)
    assert compared(runs, "total_time_s").verdict is Verdict.WINS


@pytest.mark.parametrize(
    "other",
    [
        run("xbzrle", migration=migration("xbzrle", 1.0, outcome=Outcome.FAILED)),
        run("xbzrle", migration=migration("xbzrle", 1.0, simulated=True)),
        run("xbzrle", 1.0, ram=RamEquality(4096, 0)),
        run("thesis", 1.0),
    ],
    ids=["failed", "simulated", "compared RAM", "relayed"],
)
def test_what_is_no_rival(other: Run) -> None:
    assert compared([run("pagethrift"), run("plain"), other], "total_time_s").best == "plain"


def test_a_forced_best_is_said() -> None:
    rivals = repeated("plain", 10.0) + repeated("xbzrle", 5.0, 5.0)
    forced = run("xbzrle", repetition=2, migration=migration("xbzrle", 5.0, converged=False, forced_at_s=4.0))
    own = run("pagethrift")
    assert not compared([own, *rivals], "total_time_s").best_forced
    found = compared([own, *rivals, forced], "total_time_s")
    assert found.best_forced
    assert found.as_json() == {
        "measure": "total_time_s", "own": 10.0, "best": "xbzrle", "best_forced": True, "other": 5.0,
        "ratio": {"median": 2.0, "low": 2.0, "high": 2.0}, "pairs": 1, "verdict": "too few runs to tell",
    }  # fmt: skip


def test_what_only_a_relay_has_is_not_compared() -> None:
    keys = {one.measure.key for one in comparisons([run("pagethrift"), run("plain")])["pagethrift"]}
    assert {"total_time_s", "blackout_s", "p99_s_during"} <= keys
    assert not keys & {"relay_cpu_s", "relay_peak_rss_bytes", "ratio", "p99_s_before"}


def test_a_ratio_with_nothing_is_none() -> None:
    runs = repeated("plain", 0.0, name="downtime_s") + repeated("pagethrift", 0.1, name="downtime_s")
    found = compared(runs, "downtime_s")
    assert (found.ratio, found.shown_ratio, found.as_json()["ratio"]) == (None, "-", None)


def test_every_mode_with_our_strategy_is_compared_and_the_default_one_with_each_of_qemus() -> None:
    tuned = run("pagethrift:3", migration=migration("pagethrift", 2.0))
    qemu = [run("plain", 10.0), run("xbzrle", 20.0)]
    (time,) = [measure for measure in MEASURES if measure.key == "total_time_s"]
    assert list(comparisons([tuned, run("pagethrift", 5.0), *qemu])) == ["pagethrift:3", "pagethrift"]
    assert against(time, [tuned, *qemu]) == {}
    ratios = against(time, [tuned, run("pagethrift", 5.0), *qemu])
    assert {mode: ratio and ratio.median for mode, ratio in ratios.items()} == {"plain": 0.5, "xbzrle": 0.25}

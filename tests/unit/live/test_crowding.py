"""A host that is short of processors is said to be."""

from __future__ import annotations

import os
from pathlib import Path

from pagethrift.live.crowding import Crowding, idle_s, waited_s


def watched(path: Path, *looks: tuple[float, float], idle: float = 0.1) -> str:
    """Return the warning after looks at (time, seconds waited so far); ``idle``: share of four processors."""
    crowding = Crowding(path, path.with_name("stat"))
    for now_s, waited in looks:
        ticks = round(4 * idle * now_s * os.sysconf("SC_CLK_TCK"))
        path.with_name("stat").write_text(f"cpu  9 9 9 {ticks} 0 9\n" + "cpu0 9 9 9 9 0 9\n" * 4 + "intr 5\n")
        path.write_text(
            f"some avg10=1.00 avg60=2.00 avg300=3.00 total={round(waited * 1e6)}\n"
            "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
        )
        crowding.look(now_s)
    return crowding.warning


def test_a_host_where_work_waits_most_of_the_time(tmp_path: Path) -> None:
    path = tmp_path / "cpu"
    assert watched(path, (5.0, 100.0), (7.0, 101.0)) == ""
    warning = watched(path, (5.0, 100.0), (7.0, 101.8))
    assert warning.startswith("this host is short of processors: work waited for one 90% of the time")


def test_only_the_last_two_seconds_count(tmp_path: Path) -> None:
    path = tmp_path / "cpu"
    assert watched(path, (5.0, 100.0), (7.0, 102.0), (9.0, 102.5)) == ""
    assert watched(path, (5.0, 100.0), (7.0, 102.0), (8.0, 102.1)), "a second is no window"
    assert watched(path, (5.0, 100.0), (7.0, 100.1), (9.0, 102.0))


def test_a_kernel_that_does_not_say(tmp_path: Path) -> None:
    path = tmp_path / "cpu"
    assert waited_s(path) is None
    path.write_text("")
    assert waited_s(path) is None
    crowding = Crowding(path, path)
    for now_s in (1.0, 4.0, 9.0):
        crowding.look(now_s)
    assert crowding.warning == ""


def test_a_few_crowded_processors_of_many_are_no_crowded_host(tmp_path: Path) -> None:
    path = tmp_path / "cpu"
    assert watched(path, (5.0, 100.0), (7.0, 101.8), idle=0.25)
    assert watched(path, (5.0, 100.0), (7.0, 101.8), idle=0.9) == ""


def test_this_machine_says_what_it_needs() -> None:
    assert 0 <= idle_s() < 1e9
    crowding = Crowding()
    crowding.look(1.0)
    crowding.look(4.0)


def test_a_warning_ends_with_what_it_was_taken_from(tmp_path: Path) -> None:
    path = tmp_path / "cpu"
    path.write_text("some avg10=0 total=0\n")
    crowding = Crowding(path, path)
    crowding.look(1.0)
    path.write_text("some avg10=0 total=9000000\n")
    crowding.look(4.0)
    assert crowding.warning
    path.unlink()
    crowding.look(9.0)
    assert crowding.warning == ""

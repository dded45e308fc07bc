"""A host that is short of processors is said to be."""

from __future__ import annotations

from pathlib import Path

from pagethrift.live.crowding import Crowding, waited_s


def watched(path: Path, *looks: tuple[float, float]) -> str:
    """Return the warning after looks at (time, seconds waited so far)."""
    crowding = Crowding(path)
    for now_s, waited in looks:
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
    crowding = Crowding(path)
    for now_s in (1.0, 4.0, 9.0):
        crowding.look(now_s)
    assert crowding.warning == ""

"""A host that is short of processors is said to be."""

from __future__ import annotations

from pagethrift.live.crowding import Crowding
from pagethrift.model.relay_protocol import RelayStatus


def watched(*seconds: tuple[float, float, float]) -> str:
    """Return the warning after reports of (now, cpu, waited)."""
    crowding = Crowding()
    for now_s, cpu_s, waited_s in seconds:
        crowding.look(RelayStatus(now_s=now_s, cpu_s=cpu_s, waited_s=waited_s))
    return crowding.warning


def test_a_relay_that_waits_longer_than_it_works() -> None:
    assert watched((5.0, 0.0, 0.0), (6.0, 0.4, 0.3)) == ""
    warning = watched((5.0, 0.0, 0.0), (6.0, 0.3, 0.9))
    assert "short of processors: the relay waits for one in 75% of the time that it has work" in warning


def test_only_the_last_second_counts() -> None:
    assert watched((5.0, 0.0, 0.0), (6.0, 0.1, 0.9), (7.0, 0.6, 1.0)) == ""
    assert watched((5.0, 0.0, 0.0), (6.0, 0.6, 0.1), (7.0, 0.7, 1.1))
    assert watched((5.0, 0.0, 0.0), (5.5, 0.1, 0.9)) == "", "half a second is no window"


def test_a_relay_without_work_says_nothing() -> None:
    assert watched((5.0, 0.0, 0.0), (6.0, 0.001, 0.01)) == ""
    assert watched((5.0, 0.0, 0.0), (6.0, 0.1, 0.9), (7.0, 0.101, 0.9)), "it was crowded when it had work"

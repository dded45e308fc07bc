"""CloudNet's Smart Stop."""

from __future__ import annotations

import pytest

from pagethrift.model.facts import StopAction
from pagethrift.strategies.cloudnet import SmartStop, cloudnet
from tests.unit.strategies.facts import stop_facts

GO, ON = StopAction.SWITCH_OVER, StopAction.CONTINUE


@pytest.mark.parametrize(
    ("dirty", "action"),
    [
        ([9000, 8000, 7000, 6000], ON),
        ([9000, 9000], ON),
        ([9000, 9500, 9400], ON),
        ([9000, 9500, 8999], GO),
        ([9000, 5000, 6000, 5500, 4999], GO),
        ([1000, 9000, 8000, 8100, 8200, 8300, 7999], GO),
        ([9000, 49], GO),
        ([9000] * 29, ON),
        ([9000] * 30, GO),
    ],
)
def test_a_minimum_after_the_rounds_have_ceased_to_shrink(dirty: list[int], action: StopAction) -> None:
    assert SmartStop().decide(stop_facts(dirty)).action is action


def test_the_row_deduplicates_in_a_simulation() -> None:
    assert cloudnet().simulated.deduplicates

"""The bounds that keep holding harmless."""

from __future__ import annotations

import numpy as np
import pytest

from pagethrift.strategies.holds import fitting, overflowing, quiet, rounds_changed
from tests.unit.strategies.facts import ROOM_BYTES, held_facts, page_facts


def test_round_zero_is_no_evidence() -> None:
    history = np.array([0b1, 0b11, 0b111, 0b1010, 0b11111111], np.uint8)
    assert rounds_changed(history, 0, 5).tolist() == [0, 0, 0, 0, 0]
    assert rounds_changed(history, 1, 5).tolist() == [1, 1, 1, 0, 1]
    assert rounds_changed(history, 2, 5).tolist() == [1, 2, 2, 1, 2]
    assert rounds_changed(history, 50, 3).tolist() == [1, 2, 3, 1, 3]
    assert rounds_changed(history, 50, 99).tolist() == [1, 2, 3, 2, 8]


def test_what_is_held_fits_a_share_of_the_downtime() -> None:
    wish = np.ones(4, np.bool_)
    facts = page_facts(4, 3, sizes=np.full(4, ROOM_BYTES // 4, np.int32))
    assert fitting(wish, facts, 1.0).sum() == 4
    assert fitting(wish, facts, 0.5).sum() == 2
    assert fitting(wish, facts, 0.0).sum() == 0
    full = page_facts(4, 3, held_bytes=ROOM_BYTES)
    assert fitting(wish, full, 1.0).sum() == 0
    assert fitting(wish, page_facts(4, 3, link_bps=0.0), 1.0).sum() == 0, "the link rate is unknown"
    assert fitting(np.zeros(4, np.bool_), full, 1.0).sum() == 0


def test_a_new_version_of_a_held_page_needs_no_new_room() -> None:
    held_sizes = np.array([100, 0, 60, 0], np.int32)
    full = page_facts(4, 3, held_bytes=ROOM_BYTES - 140, held_sizes=held_sizes)
    assert fitting(np.ones(4, np.bool_), full, 1.0).tolist() == [True, True, True, False]


def test_a_simulator_holds_as_defined() -> None:
    facts = page_facts(3, 3, held_bytes=10**12, as_defined=True)
    assert fitting(np.array([True, False, True]), facts, 1.0).tolist() == [True, False, True]
    assert not overflowing(held_facts([1, 2], 9, link_bps=1.0, as_defined=True), 1.0).any()


@pytest.mark.parametrize(("link_bps", "released"), [(1e9, 0), (1000.0, 2), (0.0, 5)])
def test_a_slower_link_releases_the_oldest(link_bps: float, released: int) -> None:
    facts = held_facts([5, 1, 4, 2, 3], 6, link_bps=link_bps)
    over = overflowing(facts, 1.0)
    assert over.sum() == released
    assert sorted(facts.since_round[over].tolist()) == [1, 2, 3, 4, 5][:released]


def test_quiet_is_a_whole_round_without_arriving() -> None:
    assert quiet(held_facts([3, 4, 5], 6)).tolist() == [True, True, False]

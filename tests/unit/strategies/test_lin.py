"""Lin's second chance and its change of phase."""

from __future__ import annotations

import numpy as np

from pagethrift.strategies.lin import SecondChance
from tests.unit.strategies.facts import ROOM_BYTES, held_facts, page_facts


def test_what_is_dirty_waits_and_what_was_quiet_is_sent() -> None:
    hold = SecondChance()
    assert hold.hold(page_facts(2, 0)) is None, "round 0 sends everything"
    answer = hold.hold(page_facts(2, 1))
    assert answer is not None
    assert answer.all()
    released = hold.release(held_facts([1, 2], 3))
    assert released is not None
    assert released.tolist() == [True, False]
    assert hold.hold(page_facts(2, 3, last=True)) is None


def test_a_simulator_says_what_was_quiet() -> None:
    hold = SecondChance()
    released = hold.release(held_facts([2, 2], 2, dirty_again=np.array([True, False]), as_defined=True))
    assert released is not None
    assert released.tolist() == [False, True]


def backlogs(hold: SecondChance, *sizes: int) -> list[bool]:
    """Feed the pages held in rounds 1, 2, ...; say after each round whether pages still wait."""
    waiting = []
    for i, held_pages in enumerate(sizes):
        facts = page_facts(1, i + 1, held_pages=held_pages, held_bytes=10 * ROOM_BYTES, as_defined=True)
        waiting.append(hold.hold(facts) is not None)
    return waiting


def test_phase_two_begins_when_the_backlog_has_not_shrunk_for_two_rounds() -> None:
    assert backlogs(SecondChance(), 90, 80, 70, 60, 50) == [True] * 5
    assert backlogs(SecondChance(), 90, 90, 91, 1, 1) == [True, True, True, False, False]
    assert backlogs(SecondChance(), 90, 90, 80, 80, 80, 80) == [True, True, True, True, True, False]


def test_phase_two_is_plain_and_releases_everything() -> None:
    hold = SecondChance()
    backlogs(hold, 90, 90, 90, 90)
    released = hold.release(held_facts([4, 4], 4, dirty_again=np.array([True, True]), as_defined=True))
    assert released is not None
    assert released.all()


def test_phase_two_begins_when_the_backlog_fits_the_downtime() -> None:
    hold = SecondChance()
    assert hold.hold(page_facts(1, 2, held_bytes=ROOM_BYTES + 1, as_defined=True)) is not None
    assert hold.hold(page_facts(1, 2, held_bytes=ROOM_BYTES, as_defined=True)) is None

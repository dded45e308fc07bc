"""Rounds as facts and as records."""

from __future__ import annotations

from pagethrift.engine.rounds import RoundLog, Totals
from pagethrift.model.result import PageCounters


def totals(ram_bytes: int, full: int, held_pages: int = 0) -> Totals:
    return Totals(ram_bytes, PageCounters(full=full), held_pages)


def test_a_round_counts_what_went_in_it() -> None:
    log = RoundLog(dirty_pages=100)
    log.begin(2.0, totals(1000, 90, held_pages=3), dirty_pages=20)
    log.begin(3.0, totals(1200, 110), dirty_pages=4)
    now = totals(1250, 112, held_pages=1)
    assert (log.current, log.began_s, log.dirty_pages) == (2, 3.0, 4)
    assert log.sent_bytes(now) == (1000, 200, 50)
    assert log.all_dirty_pages() == (100, 20, 4)
    records = log.records(now)
    assert [r.pages.full for r in records] == [90, 20, 2]
    assert [r.held_pages for r in records] == [3, 0, 1]
    assert [r.began_s for r in records] == [0.0, 2.0, 3.0]


def test_the_dirty_rate_is_that_of_the_last_round_it_is_known_of() -> None:
    log = RoundLog()
    assert log.dirty_pages_per_s() == 0.0
    log.begin(2.0, Totals(), dirty_pages=50)
    assert log.dirty_pages_per_s() == 25.0
    log.begin(4.0, Totals())
    assert log.dirty_pages_per_s() == 25.0, "the count comes later"
    log.begin(4.0, Totals(), dirty_pages=7)
    assert log.dirty_pages_per_s() == 25.0, "a round that took no time says nothing"


def test_counts_that_come_late_are_those_of_the_latest_rounds() -> None:
    log = RoundLog(dirty_pages=9)
    log.begin(1.0, Totals())
    log.begin(2.0, Totals())
    assert log.dirty_pages is None
    log.found_dirty(5)
    assert log.all_dirty_pages() == (9, 5, 5)
    log.found_dirty(6)
    assert log.all_dirty_pages() == (9, 5, 5)

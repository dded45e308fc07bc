"""What other systems do and QEMU's stream cannot."""

from __future__ import annotations

import numpy as np

from pagethrift.model.methods import Method
from pagethrift.model.pages import I32, I64, U8
from pagethrift.simulator.models import REFERENCE_BYTES, Deduplicate, PairSet, SkipSeen
from pagethrift.simulator.virtual_guest import Snapshot

STATE = np.zeros(8, np.uint8)


def numbers(*values: int) -> I64:
    return np.array(values, np.int64)


def batch(**contents: int) -> Snapshot:
    """Return pages by number, ``p3=9``: page 3 of content 9."""
    room = Snapshot.room(len(contents))
    room.page[:] = [int(name[1:]) for name in contents]
    room.content[:] = list(contents.values())
    return room


def chosen(pages: Snapshot, size: int = 4104) -> tuple[U8, I32]:
    return np.full(len(pages), Method.FULL, np.uint8), np.full(len(pages), size, np.int32)


def test_a_set_of_pairs_keeps_their_order() -> None:
    pairs = PairSet()
    assert pairs.contains(numbers(0), numbers(0)).tolist() == [0]
    pairs.add(numbers(0, 1), numbers(0, 2))
    assert pairs.contains(numbers(0, 1, 2, 1), numbers(0, 2, 1, 1)).tolist() == [1, 1, 0, 0]


def test_a_set_grows_and_forgets_nothing() -> None:
    pairs = PairSet()
    count = 100_000
    first = np.arange(count, dtype=np.int64)
    for part in np.array_split(first, 7):
        pairs.add(part, part + 1)
        pairs.add(part, part + 1)
    assert pairs.contains(first, first + 1).all()
    assert not pairs.contains(first, first + 2).any()


def test_a_page_is_skipped_for_what_it_held_in_any_round() -> None:
    model = SkipSeen()
    for pages, skipped in (
        (batch(p1=5, p2=6), [False, False]),
        (batch(p1=6, p2=6), [False, True]),
        (batch(p1=5, p2=5), [True, False]),
    ):
        methods, sizes = chosen(pages)
        model.adjust(pages, STATE, 0, methods, sizes)
        model.sent(pages, np.full(2, Method.SKIP, np.uint8))
        assert (methods == Method.SKIP).tolist() == skipped
        assert (sizes == 0).tolist() == skipped


def test_a_content_the_destination_has_had_travels_as_a_reference() -> None:
    model = Deduplicate()
    pages = batch(p1=5, p2=6, p3=7)
    methods, sizes = chosen(pages)
    model.adjust(pages, STATE, 0, methods, sizes)
    assert sizes.tolist() == [4104] * 3, "nothing was sent yet"
    model.sent(pages, np.array([Method.FULL, Method.SKIP, Method.HOLD], np.uint8))
    pages = batch(p4=5, p5=6, p6=7)
    methods, sizes = chosen(pages)
    model.adjust(pages, STATE, 1, methods, sizes)
    assert methods.tolist() == [Method.DELTA, Method.FULL, Method.FULL]
    assert sizes.tolist() == [REFERENCE_BYTES, 4104, 4104]


def test_a_record_that_is_no_longer_than_a_reference_stays() -> None:
    model = Deduplicate()
    model.sent(batch(p1=5), np.array([Method.FULL], np.uint8))
    for size, left in ((REFERENCE_BYTES, REFERENCE_BYTES), (REFERENCE_BYTES + 1, REFERENCE_BYTES), (9, 9)):
        pages = batch(p2=5)
        methods, sizes = chosen(pages, size)
        model.adjust(pages, STATE, 0, methods, sizes)
        assert sizes.tolist() == [left]
        assert (methods[0] == Method.DELTA) == (size > REFERENCE_BYTES)

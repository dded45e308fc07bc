"""The simulator's kernels, value by value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pagethrift.content.ledger import State
from pagethrift.engine.decisions import Moment
from pagethrift.model.methods import Method
from pagethrift.model.pages import I32
from pagethrift.simulator.kernels import (
    FETCHED,
    LOGGED,
    commit,
    find_faults,
    play_writes,
    sync_bitmap,
)
from pagethrift.simulator.virtual_guest import Snapshot, VirtualGuest
from pagethrift.simulator.virtual_relay import VirtualRelay
from pagethrift.strategies.table import strategy
from tests.unit.simulator.guests import trace_of


def arrays(kind: Any, *values: Any) -> Any:
    return np.array(values, kind)


def played(until_s: float, offset_s: float = 0.0, loop: int = 0, since_delta: int = 0, **write: int) -> Any:
    """Play one write at 1 s to the second of two pages, both of content 7."""
    given = {"content": 9, "changed": 4, "delta": 30, "sparse": 100} | write
    content, sparse, mask = arrays(np.int64, 7, 7), arrays(np.uint16, 5, 5), arrays(np.uint32, 0, 1)
    delta, log, written_s = arrays(np.int32, 0, since_delta), arrays(np.uint8, 0, 0), arrays(float, -1, -1)
    cursor = play_writes(
        until_s, offset_s, loop, 0, arrays(float, 1.0), arrays(np.int32, 1),
        arrays(np.int32, given["content"]), arrays(np.uint16, given["changed"]),
        arrays(np.uint16, given["delta"]), arrays(np.uint16, given["sparse"]),
        content, sparse, mask, delta, log, written_s,
    )  # fmt: skip
    assert (content[0], log[0]) == (7, 0)
    return cursor, content[1], sparse[1], mask[1], delta[1], log[1], written_s[1]


def test_a_write_changes_its_page_when_it_is_due() -> None:
    assert played(0.999) == (0, 7, 5, 1, 0, 0, -1)
    assert played(1.0) == (1, 9, 100, 5, 30, LOGGED, 1.0)
    assert played(2.999, offset_s=2.0)[0] == 0
    assert played(3.0, offset_s=2.0)[6] == 3.0


def test_a_later_loop_writes_other_contents_but_for_zeros_and_rewrites() -> None:
    assert played(1.0, loop=2)[1] == 9 | 2 << 32
    assert played(1.0, loop=2, content=0)[1] == 0
    assert played(1.0, loop=2, changed=0) == (1, 7, 5, 1, 0, LOGGED, 1.0)


def test_a_page_written_for_hours_does_not_overflow() -> None:
    assert played(1.0, since_delta=(1 << 20) - 1)[4] == 1 << 20


def test_the_log_goes_into_the_bitmap() -> None:
    for clear_now, left in ((False, LOGGED | FETCHED), (True, 0)):
        log, bitmap = arrays(np.uint8, 0, LOGGED, LOGGED, 0), arrays(np.uint8, 1, 1, 0, 0)
        left_out = arrays(np.uint8, 1, 0, 1, 1)
        assert sync_bitmap(log, bitmap, left_out, clear_now) == 1
        assert bitmap.tolist() == [1, 1, 1, 0]
        assert log.tolist() == [0, left, left, 0]
        assert left_out.tolist() == [1, 0, 0, 1]


def sent_again(name: str, exact: bool = False) -> list[int]:
    """Return the bytes of a page that came before, of one that was zero, and of one that is now."""
    guest = VirtualGuest(trace_of())
    relay = VirtualRelay(strategy(name), guest, np.zeros(6, np.uint8), as_defined=False, exact_deltas=exact)
    sizes = []
    for round_, contents in enumerate(((9, 0, 7), (8, 6, 0))):
        for page, (content, sparse) in enumerate(zip(contents, (4096, 100, 100), strict=True)):
            batch = Snapshot(
                arrays(np.int64, page), arrays(np.int64, content), arrays(np.uint16, sparse),
                arrays(np.uint32, 0b10100), arrays(np.int32, 30), arrays(float, 0.0),
            )  # fmt: skip
            sizes.append(relay.thin(batch, Moment(0.0, round_, 1e6, 0.3, False)))
    return sizes[3:]


def test_what_a_page_costs() -> None:
    record = 8 + 3  # its word, then type and length
    # two subpages far apart: two runs of four bytes and 512 bytes of content
    assert sent_again("pagethrift") == [record + 512 + 8, record + 100, 9]
    assert sent_again("pagethrift", exact=True) == [record + 30, record + 30, 9]
    assert sent_again("kvm-default") == [4104, 4104, 9]


def test_what_was_not_forwarded_stays_owed() -> None:
    methods = [Method.FULL, Method.ZERO, Method.SKIP, Method.HOLD, Method.DELTA]
    pages = arrays(np.int64, 4, 3, 2, 1, 0)
    held, state = np.full(5, 77, np.int64), np.full(5, State.NEVER, np.uint8)
    owed_mask, owed_delta = np.full(5, 1, np.uint32), np.full(5, 2, np.int32)
    commit(
        pages, arrays(np.int64, 9, 0, 8, 7, 6), arrays(np.uint8, *methods),
        arrays(np.uint32, 10, 11, 12, 13, 14), arrays(np.int32, 20, 21, 22, 23, 24),
        held, state, owed_mask, owed_delta,
    )  # fmt: skip
    assert held.tolist() == [6, 77, 77, 0, 9]
    assert state.tolist() == [State.KNOWN, State.NEVER, State.NEVER, State.ZERO, State.KNOWN]
    assert owed_mask.tolist() == [0, 13, 12, 0, 0]
    assert owed_delta.tolist() == [0, 23, 22, 0, 0]


def faults(*writes: tuple[float, int], arrives_s: list[float], begin_s: float = 0.0, cursor: int = 0) -> Any:
    times, pages = zip(*writes, strict=True)
    page: I32 = arrays(np.int32, *pages)
    return find_faults(begin_s, 0.5, cursor, arrays(float, *times), page, arrays(float, *arrives_s))


def test_a_write_before_its_page_arrives_stalls_the_guest() -> None:
    assert faults((1.0, 0), arrives_s=[1.0]) == (0, 0.0)
    assert faults((1.0, 0), arrives_s=[9.0]) == (1, 0.5), "asked for, it comes out of turn"
    assert faults((1.0, 0), arrives_s=[1.2]) == (1, pytest.approx(0.2)), "it was on its way"
    assert faults((11.0, 0), arrives_s=[2.0], begin_s=10.0) == (1, 0.5)
    assert faults((0.0, 0), (1.0, 0), arrives_s=[9.0], cursor=1) == (1, 0.5)


def test_a_stall_puts_off_what_follows_and_brings_the_page_for_good() -> None:
    assert faults((1.0, 0), (1.0, 0), (1.1, 0), arrives_s=[9.0]) == (1, 0.5)
    assert faults((1.0, 0), (1.1, 1), arrives_s=[9.0, 1.6]) == (1, 0.5)
    assert faults((1.0, 0), (1.1, 1), arrives_s=[9.0, 1.7]) == (2, pytest.approx(0.6))

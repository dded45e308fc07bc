"""The hold buffer against a dictionary."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings

from pagethrift.engine.held import HeldPages
from pagethrift.engine.holding import HoldBuffer
from pagethrift.model.pages import I32, I64, PageBatch
from tests.streams import seeds

TOTAL = 40


def batch(pages: list[int], contents: list[bytes]) -> PageBatch:
    """Contents of 4096 bytes, or b"" for a ZERO record; the records stand at odd places."""
    positions, buffer = [], bytearray(b"\x11")
    for content in contents:
        positions.append(len(buffer))
        buffer += content or b"\0"
    n = len(pages)
    kinds = np.array([1 if content else 0 for content in contents], np.uint8)
    return PageBatch(
        np.array(pages, np.int64), kinds, np.array(positions, np.int64), np.full(n, 4096, np.int32),
        np.frombuffer(buffer, np.uint8),
    )  # fmt: skip


class Holding:
    """Held pages with their contents."""

    def __init__(self, total_pages: int, budget_pages: int) -> None:
        self.pages = HeldPages(total_pages, budget_pages)
        self.buffer = HoldBuffer(self.pages)

    def put(self, batch: PageBatch, chosen: I64, sizes: I32, now_s: float, round_: int) -> I64:
        kept = self.pages.take(batch.page[chosen], sizes[chosen], now_s, round_)
        self.buffer.store(batch, chosen[kept])
        return chosen[~kept]


def contents_of(held: Holding) -> dict[int, bytes]:
    found = held.buffer.batch(held.pages.used())
    assert (found.length == 4096).all()
    contents = {
        int(page): found.buffer[at : at + 4096].tobytes()
        for page, at in zip(found.page, found.position, strict=True)
    }
    assert all(
        kind == 1 or not any(content) for kind, content in zip(found.kind, contents.values(), strict=True)
    )
    return contents


def numbers(*values: int) -> I64:
    return np.array(values, np.int64)


def sizes_of(*values: int) -> I32:
    return np.array(values, np.int32)


@settings(max_examples=80, deadline=None)
@given(seed=seeds)
def test_it_holds_what_a_dictionary_would(seed: int) -> None:
    rng = random.Random(seed)
    budget = rng.choice((0, 1, 2, 5, 300))
    held = Holding(TOTAL, budget)
    model: dict[int, tuple[bytes, int, float, int]] = {}
    for step in range(rng.randint(1, 12)):
        pages = rng.sample(range(TOTAL), rng.randint(0, 12))
        if rng.random() < 0.6:
            contents = [rng.choice((b"", bytes([rng.randrange(256)]) * 4096)) for _ in pages]
            chosen = sorted(rng.sample(range(len(pages)), rng.randint(0, len(pages))))
            sizes = np.array([rng.randint(1, 4104) for _ in pages], np.int32)
            refused = held.put(
                batch(pages, contents), np.array(chosen, np.int64), sizes, float(step), step * 2
            )
            taken = [i for i in chosen if i not in refused.tolist()]
            new = [i for i in chosen if pages[i] not in model]
            assert len(refused) == max(0, len(new) - (budget - len(model)))
            assert set(refused.tolist()) <= set(new), "a page that is held is never refused"
            for i in taken:
                model[pages[i]] = (contents[i] or bytes(4096), int(sizes[i]), float(step), step * 2)
        else:
            held.pages.drop(np.array(pages, np.int64))
            for page in pages:
                model.pop(page, None)
        assert len(held.pages) == len(model) <= budget
        assert contents_of(held) == {page: row[0] for page, row in model.items()}
        assert held.pages.held_bytes == sum(row[1] for row in model.values())
        assert (held.pages.slots(np.arange(TOTAL)) >= 0).tolist() == [page in model for page in range(TOTAL)]
        for slot in held.pages.used():
            row = model[int(held.pages.page_in[slot])]
            assert (held.pages.since_s[slot], held.pages.since_round[slot]) == row[2:]


def test_the_newest_content_wins_in_its_own_slot() -> None:
    held = Holding(TOTAL, 2)
    old, new = b"\x01" * 4096, b"\x02" * 4096
    assert len(held.put(batch([7, 8], [old, old]), numbers(0, 1), sizes_of(4104, 4104), 1.0, 1)) == 0
    assert len(held.put(batch([8, 7], [b"", new]), numbers(0, 1), sizes_of(9, 20), 2.0, 2)) == 0
    assert contents_of(held) == {7: new, 8: bytes(4096)}
    assert held.pages.held_bytes == 29
    assert held.put(batch([9], [old]), numbers(0), sizes_of(1), 3.0, 3).tolist() == [0]
    assert contents_of(held) == {7: new, 8: bytes(4096)}


def test_memory_grows_with_use_and_stops_at_the_budget() -> None:
    held = Holding(100_000, 1000)
    assert held.buffer.nbytes == 0
    for start in range(0, 3000, 100):
        pages = list(range(start, start + 100))
        held.put(batch(pages, [b""] * 100), np.arange(100), np.full(100, 9, np.int32), 0.0, 0)
    assert len(held.pages) == 1000
    assert held.buffer.nbytes == 1000 * 4096
    held.pages.drop(np.arange(100_000))
    assert len(held.pages) == 0
    assert held.pages.held_bytes == 0
    assert len(held.put(batch([5], [b""]), numbers(0), sizes_of(9), 0.0, 0)) == 0


def test_the_reporting_thread_may_look_while_the_buffer_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """``held_bytes`` is read ten times a second by another thread, between any two assignments.

    Every array is replaced by a call of concatenate: look at each of these moments.
    """
    held = Holding(TOTAL, 10)
    concatenate = np.concatenate

    def looking(*args: object, **options: object) -> object:
        assert 0 <= held.pages.held_bytes <= 9
        assert len(held.pages) >= 0
        return concatenate(*args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr("pagethrift.engine.held.np.concatenate", looking)
    held.put(batch([1], [b""]), numbers(0), sizes_of(9), 0.0, 0)
    assert held.pages.held_bytes == 9

"""QEMU's rounds, told from the order of what arrives."""

from __future__ import annotations

import numpy as np

from pagethrift.engine.output import Output, PauseReason
from pagethrift.engine.passes import Passes
from pagethrift.engine.thinner import Thinner
from pagethrift.strategies.pagethrift import pagethrift
from pagethrift.stream.image import image
from pagethrift.stream.synthetic import StreamBuilder


def rounds_of(*batches: list[int]) -> list[int]:
    passes, found = Passes(), []
    for batch in batches:
        passes.main_sent(np.array(batch, np.int64))
        found.append(passes.number)
    return found


def test_a_page_that_is_not_above_the_last_begins_a_round() -> None:
    assert rounds_of([0, 1, 5], [6, 90], [2, 3], [3], [3]) == [0, 0, 1, 2, 3]


def test_a_pass_that_ends_within_a_batch_counts_from_the_next_batch() -> None:
    assert rounds_of([50, 60, 2, 3], [4], [90, 1], [0]) == [0, 1, 1, 3]


def test_a_flush_begins_a_round_only_when_pages_came_since_the_last() -> None:
    passes = Passes()
    passes.flushed()
    assert passes.number == 0, "QEMU flushes once before the first page"
    passes.channels_sent()
    passes.channels_sent()
    passes.flushed()
    passes.flushed()
    assert passes.number == 1


def test_a_relay_that_is_told_nothing_holds_pages_too() -> None:
    """Without rounds no page would ever have changed in two of them."""
    it, rng = StreamBuilder([("pc.ram", 64)]), np.random.default_rng(1)
    for number in range(8):
        it.begin_body()
        for page in range(0, 64, 1 if number == 0 else 4):
            it.page(0, page, rng.bytes(4096))
        it.end_body()
    it.begin_body(last=True)
    it.end_body()
    stream = it.finish()
    thinner, out, sent, most_held = Thinner(pagethrift(), bytes(32)), Output(), bytearray(), 0
    thinner.link_bps = 1e9
    for at in range(0, len(stream) + 5000, 5000):
        piece = stream[at : at + 5000]
        thinner.room(5000)[: len(piece)] = piece
        thinner.received(len(piece))
        while True:
            progress = thinner.run(out, 0.0)
            sent += b"".join(out.pieces())
            out.clear()
            most_held = max(most_held, len(thinner.held))
            if progress in (PauseReason.NEED_INPUT, PauseReason.ENDED):
                break
    assert thinner.round == 7
    assert most_held == 16
    assert np.array_equal(image(bytes(sent), None).memory, image(stream, None).memory)


def test_a_round_that_is_told_counts_alone() -> None:
    thinner = Thinner(pagethrift(), bytes(32))
    thinner.begin_round(3)
    assert thinner.round == 3

"""Invariant 1 of the project: image(thin(s)) == image(s), for every stream and every strategy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from pagethrift.content.ledger import KNOWN, ZERO, Ledger
from pagethrift.content.signature import SubpageSigner
from pagethrift.engine import thinner as thinner_module
from pagethrift.model.pages import I64, PAGE_BYTES, U8, U32, U64, PageBatch
from pagethrift.strategies.base import Signing
from pagethrift.strategies.table import TABLE
from pagethrift.stream.image import Image, image
from tests.streams import before, chaos, examples, random_stream, seeds, thin_in_pieces

EXAMPLES = examples(300)


def differences(stream: bytes, thinned: bytes) -> int:
    """Bytes of RAM and tail that differ between the images of both streams."""
    expected, got = image(stream, before), image(thinned, before)
    assert got.table is not None
    assert expected.table is not None
    assert got.table.blocks == expected.table.blocks
    return int(np.count_nonzero(expected.memory != got.memory)) + (expected.tail != got.tail)


@pytest.mark.parametrize("name", TABLE)
@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=seeds)
def test_every_strategy_leaves_the_same_image(name: str, seed: int) -> None:
    stream = random_stream(seed)
    thinned, _ = thin_in_pieces(stream, TABLE[name](), seed)
    assert differences(stream, thinned) == 0


@settings(max_examples=3 * EXAMPLES, deadline=None)
@given(seed=seeds)
def test_chaos_is_harmless(seed: int) -> None:
    stream = random_stream(seed)
    thinned, thinner = thin_in_pieces(stream, chaos(seed), seed)
    assert differences(stream, thinned) == 0
    assert len(thinner.held) == 0


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=seeds)
def test_ledger_tells_the_truth(seed: int) -> None:
    """After everything was forwarded each row describes exactly what the destination holds."""
    stream = random_stream(seed)
    thinned, thinner = thin_in_pieces(stream, chaos(seed, Signing.SUBPAGES), seed)
    memory = image(thinned, before).memory
    signer = thinner._signer
    assert isinstance(signer, SubpageSigner)
    pages = np.arange(thinner.table.total_pages)
    batch = PageBatch(
        pages,
        np.ones(len(pages), np.uint8),
        pages * PAGE_BYTES,
        np.full(len(pages), PAGE_BYTES, np.int32),
        memory,
    )
    truth = np.zeros((len(pages), signer.columns), np.uint64)
    signer.sign(batch, truth)
    ledger = thinner.ledger
    assert (ledger.rows[ledger.state == KNOWN] == truth[ledger.state == KNOWN]).all()
    assert (truth[ledger.state == ZERO] == signer.zero_row).all()


class SeenInAnyRound(Ledger):
    """The mutant: a page is skipped when its content was forwarded in any earlier round."""

    def __init__(self, pages: int, zero_row: U64) -> None:
        super().__init__(pages, zero_row)
        self.seen: set[tuple[int, bytes]] = set()

    def compare(self, pages: I64, kinds: U8, signs: U64, out: U32) -> None:
        super().compare(pages, kinds, signs, out)
        for i, page in enumerate(pages.tolist()):
            if (page, signs[i].tobytes()) in self.seen:
                out[i] = 0

    def commit(self, pages: I64, signs: U64, methods: U8) -> None:
        super().commit(pages, signs, methods)
        for i, page in enumerate(pages.tolist()):
            if methods[i]:
                self.seen.add((page, signs[i].tobytes()))


@pytest.mark.parametrize("name", ["thesis", "pagethrift"])
def test_the_mutant_seen_in_any_round_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thesis's pseudo-code as printed leaves stale pages; these tests must notice."""
    monkeypatch.setattr(thinner_module, "Ledger", SeenInAnyRound)
    caught = 0
    for seed in range(100):
        stream = random_stream(seed)
        thinned, _ = thin_in_pieces(stream, TABLE[name](), seed)
        caught += differences(stream, thinned) > 0
    print(f"mutant caught in {caught} of 100 random streams ({name})")
    assert caught >= 5


def test_image_is_fed_in_any_pieces() -> None:
    stream = random_stream(5)
    whole = image(stream, before)
    single = Image(before)
    for i in range(len(stream)):
        single.feed(stream[i : i + 1])
    single.feed(b"")
    assert (whole.memory == single.memory).all()
    assert whole.tail == single.tail

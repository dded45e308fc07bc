"""Invariant 1 of the project: image(thin(s)) == image(s), for every stream and every strategy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagethrift.content.ledger import Ledger, State
from pagethrift.content.signature import SubpageSigner
from pagethrift.engine import forwarder
from pagethrift.engine import thinner as thinner_module
from pagethrift.engine.counters import Count
from pagethrift.engine.decisions import Moment
from pagethrift.engine.output import Output
from pagethrift.errors import StreamError
from pagethrift.model.methods import Method
from pagethrift.model.pages import I64, PAGE_BYTES, U8, U32, U64, Block, PageBatch
from pagethrift.strategies.base import Signing
from pagethrift.strategies.table import TABLE
from pagethrift.stream.image import Image, image
from pagethrift.stream.synthetic import StreamBuilder
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
@given(seed=seeds, deltas=st.booleans())
def test_every_strategy_leaves_the_same_image(name: str, seed: int, deltas: bool) -> None:
    stream = random_stream(seed, deltas=deltas)
    thinned, _ = thin_in_pieces(stream, TABLE[name](), seed)
    assert differences(stream, thinned) == 0


@settings(max_examples=3 * EXAMPLES, deadline=None)
@given(seed=seeds, deltas=st.booleans())
def test_chaos_is_harmless(seed: int, deltas: bool) -> None:
    stream = random_stream(seed, deltas=deltas)
    thinned, thinner = thin_in_pieces(stream, chaos(seed), seed)
    assert differences(stream, thinned) == 0
    assert len(thinner.held) == 0


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=seeds, deltas=st.booleans())
def test_ledger_tells_the_truth(seed: int, deltas: bool) -> None:
    """After everything was forwarded each row describes exactly what the destination holds."""
    stream = random_stream(seed, deltas=deltas)
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
    assert (ledger.rows[ledger.state == State.KNOWN] == truth[ledger.state == State.KNOWN]).all()
    assert (truth[ledger.state == State.ZERO] == signer.zero_row).all()


def signed(memory: U8, secret: bytes) -> U64:
    """A row of signatures for each page of ``memory``."""
    signer = SubpageSigner.from_secret(secret)
    pages = np.arange(len(memory) // PAGE_BYTES)
    kinds, lengths = np.ones(len(pages), np.uint8), np.full(len(pages), PAGE_BYTES, np.int32)
    rows = np.zeros((len(pages), signer.columns), np.uint64)
    signer.sign(PageBatch(pages, kinds, pages * PAGE_BYTES, lengths, memory), rows)
    return rows


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=seeds, chaotic=st.booleans(), deltas=st.booleans())
def test_a_destination_that_holds_an_old_image(seed: int, chaotic: bool, deltas: bool) -> None:
    """The ledger begins with what it holds: equal pages need no byte, for others a first delta is right."""
    stream = random_stream(seed, deltas=deltas)
    end, rng = image(stream, before), np.random.default_rng(seed)
    assert end.table is not None
    old: dict[bytes, U8] = {}
    for block in end.table.blocks:
        final = end.memory[block.first_page * PAGE_BYTES :][: block.pages * PAGE_BYTES]
        pages = final.reshape(-1, PAGE_BYTES).copy()
        changed = rng.random(len(pages)) < 0.4
        pages[changed, :300] ^= np.uint8(0x55)
        pages[rng.random(len(pages)) < 0.2] = 0
        old[block.name] = pages.reshape(-1)
    known = {name: old[name] for name in list(old)[: 1 if rng.random() < 0.3 else None]}

    def held(block: Block) -> U8:
        return old[block.name][: block.used_bytes]

    def base(secret: bytes) -> dict[bytes, U64]:
        return {name: signed(memory, secret) for name, memory in known.items()}

    strategy = chaos(seed, Signing.SUBPAGES) if chaotic else TABLE["pagethrift"]()
    thinned, thinner = thin_in_pieces(stream, strategy, seed, base=base)
    assert np.array_equal(image(thinned, held).memory, image(stream, held).memory)
    again = thinner.counters.of(Count.RETRANSFERRED_BYTES)
    assert thinner.counters.ram_bytes == again + thinner.counters.of(Count.FIRST_ROUND_BYTES)


def test_an_equal_image_costs_nothing() -> None:
    builder = StreamBuilder([("pc.ram", 3)])
    builder.begin_body(last=True)
    for page, content in enumerate((b"\x07" * PAGE_BYTES, b"", bytes(4000) + b"\x01" * 96)):
        builder.page(0, page, np.frombuffer(content, np.uint8) if content else b"")
    builder.end_body()
    stream = builder.finish()
    memory = image(stream).memory
    _, cold = thin_in_pieces(stream, TABLE["pagethrift"](), 11)
    _, warm = thin_in_pieces(
        stream, TABLE["pagethrift"](), 11, base=lambda secret: {b"pc.ram": signed(memory, secret)}
    )
    assert (warm.counters.ram_bytes, cold.counters.ram_bytes > 4000) == (0, True)


def test_a_base_of_another_size_is_refused() -> None:
    """Rows of some other guest's block."""
    stream = random_stream(3)
    end = image(stream, before)
    assert end.table is not None
    name = end.table.blocks[0].name
    with pytest.raises(StreamError, match="as in the base"):
        thin_in_pieces(
            stream, TABLE["pagethrift"](), 3, base=lambda _: {name: np.zeros((1_000, 16), np.uint64)}
        )


def test_a_sources_deltas_are_sent_as_they_came_and_the_pages_they_need_go_before() -> None:
    """Of pages whose delta came, also held ones; the ledger knows that it does not know them."""
    deltas = unseen = 0
    for seed in range(60):
        _, thinner = thin_in_pieces(random_stream(seed, deltas=True), chaos(seed), seed)
        deltas += int(thinner.counters.by_method[Method.SOURCE_DELTA])
        unseen += int((thinner.ledger.state == State.UNSEEN).sum())
        assert thinner.counters.pages.delta >= thinner.counters.by_method[Method.SOURCE_DELTA]
    print(f"{deltas} deltas, {unseen} pages unseen at the end")
    assert deltas > 300
    assert unseen > 30


class CommitsDeltas(Ledger):
    """The mutant: a page that the source changed by a delta still counts as what was sent before."""

    def commit(self, pages: I64, signs: U64, methods: U8) -> None:
        known = np.where(methods == Method.SOURCE_DELTA, Method.SKIP, methods).astype(np.uint8)
        super().commit(pages, signs, known)


class HoldsPast(forwarder.Forwarder):
    """The mutant: a held page stays held when a delta against it is sent."""

    def release_before(self, batch: PageBatch, out: Output, moment: Moment) -> bool:
        return True


@pytest.mark.parametrize("mutant", [CommitsDeltas, HoldsPast])
def test_mutants_that_misread_a_sources_delta_are_caught(
    mutant: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = forwarder if mutant is CommitsDeltas else thinner_module
    monkeypatch.setattr(module, mutant.__mro__[1].__name__, mutant)
    caught = 0
    for seed in range(100):
        stream = random_stream(seed, deltas=True)
        try:
            thinned, _ = thin_in_pieces(stream, chaos(seed, Signing.SUBPAGES), seed)
            caught += differences(stream, thinned) > 0
        except StreamError:
            caught += 1
    print(f"{mutant.__name__} caught in {caught} of 100 random streams")
    assert caught >= 5


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
    monkeypatch.setattr(forwarder, "Ledger", SeenInAnyRound)
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

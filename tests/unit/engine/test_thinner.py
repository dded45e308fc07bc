"""The thinner as a playbook: sections in, sections out, step by step."""

from __future__ import annotations

import numpy as np
import pytest

from pagethrift.engine.output import Output, PauseReason, StreamPhase
from pagethrift.engine.thin import thin
from pagethrift.engine.thinner import Thinner
from pagethrift.errors import StreamError
from pagethrift.model.methods import Allow, Method
from pagethrift.strategies.base import PageFacts, Signing
from pagethrift.strategies.table import TABLE
from pagethrift.stream.writer import PAGE_ROOM
from tests.unit.engine.playbook import ALL, HEAD, PAGE_A, PAGE_B, PAGE_C, SECRET, Bench, Script
from tests.unit.stream.pieces import (
    BLOCKS,
    HEADER,
    TAIL,
    be32,
    be64,
    block_list,
    command,
    configuration,
    idstr,
    page,
    part,
    ram_start,
    start,
    whole,
    zero,
)

EMPTY = part()


@pytest.mark.parametrize("strategy", ["kvm-default", "thesis", "cloudnet", "pagethrift"])
def test_what_was_sent_is_not_sent_again_and_what_changed_is(strategy: str) -> None:
    bench = Bench.of(TABLE[strategy]())
    assert bench.feed(HEAD) == HEAD
    assert page(3, content=PAGE_A) in bench.feed(part(page(3, content=PAGE_A)))
    again = bench.feed(part(page(3, None, PAGE_A)))
    assert again == (part(page(3, None, PAGE_A)) if strategy == "kvm-default" else EMPTY)
    changed = PAGE_A[:300] + b"\0" + PAGE_A[301:]
    delta = bench.feed(part(page(3, None, changed)))
    assert len(delta) < 400 if strategy in ("cloudnet", "pagethrift") else PAGE_A[:300] in delta
    assert bench.memory()[3] == changed
    back = bench.feed(part(page(3, None, PAGE_A), last=True) + TAIL)
    assert back.endswith(TAIL)
    assert bench.memory()[3] == PAGE_A
    bench.end()
    assert bench.ended
    assert bench.thinner.phase is StreamPhase.TAIL
    assert bench.thinner.counters.out_bytes == len(bench.output)


def test_contents_a_b_a_end_with_a() -> None:
    for signing in Signing:
        bench = Bench.of(Script().row(signing))
        bench.feed(HEAD)
        for content in (PAGE_A, PAGE_B, PAGE_A):
            bench.feed(part(page(0, content=content)))
            assert bench.memory()[0] == content


def test_a_page_never_sent_is_not_zero() -> None:
    bench = Bench.of(Script().row())
    bench.feed(HEAD + part(zero(4), page(5, None, bytes(4096)), page(6, None, b"\x01" + bytes(4095))))
    memory = bench.memory()
    assert memory[4] == memory[5] == bytes(4096)
    assert memory[6] == b"\x01" + bytes(4095)
    assert memory[7] == b"\x0f" * 4096


def test_held_pages_wait_and_the_newest_wins() -> None:
    script = Script(hold_pages={1})
    bench = Bench.of(script.row())
    bench.feed(HEAD)
    bench.now_s = 1.0
    assert bench.feed(part(page(1, content=PAGE_A))) == EMPTY
    bench.now_s = 2.0
    bench.thinner.begin_round(5)
    assert bench.feed(part(page(1, content=PAGE_B), page(2, None, PAGE_C))) == part(page(2, content=PAGE_C))
    assert script.seen[-1] == ("release", [(1, 2.0, 5, 2)])
    assert len(bench.thinner.held) == 1
    script.release_pages = {1}
    assert bench.feed(part()) == part(page(1, None, PAGE_B))
    assert len(bench.thinner.held) == 0
    assert bench.memory()[1] == PAGE_B
    assert bench.feed(part()) == EMPTY


def test_a_version_equal_to_what_was_sent_cancels_the_held_one() -> None:
    script = Script()
    bench = Bench.of(script.row())
    bench.feed(HEAD + part(page(1, content=PAGE_A)))
    script.hold_pages = {1}
    assert bench.feed(part(page(1, content=PAGE_B))) == EMPTY
    assert len(bench.thinner.held) == 1
    assert bench.feed(part(page(1, content=PAGE_A))) == EMPTY
    assert len(bench.thinner.held) == 0
    assert bench.feed(part(last=True)) == part(last=True)
    assert bench.memory()[1] == PAGE_A


def test_a_page_forwarded_forgets_its_held_version() -> None:
    script = Script(hold_pages={1})
    bench = Bench.of(script.row())
    bench.feed(HEAD + part(page(1, content=PAGE_A)))
    script.hold_pages = set()
    bench.feed(part(page(1, content=PAGE_B)))
    assert len(bench.thinner.held) == 0
    bench.feed(part(last=True))
    assert bench.memory()[1] == PAGE_B


@pytest.mark.parametrize("signing", Signing)
def test_nothing_is_owed_at_the_end(signing: Signing) -> None:
    bench = Bench.of(Script(hold_pages=set(range(10)), release_pages=set()).row(signing), hold_pages=4)
    records = [page(i, content=bytes([i + 1]) * 4096) for i in range(8)] + [zero(1, b"pc.bios")]
    bench.feed(HEAD + part(*records))
    assert len(bench.thinner.held) == 4
    out = bench.feed(part(last=True) + TAIL)
    assert out.endswith(part(last=True)[5:] + TAIL)
    memory = bench.memory()
    assert [memory[i] for i in range(8)] == [bytes([i + 1]) * 4096 for i in range(8)]
    assert memory[9] == bytes(4096)
    assert len(bench.thinner.held) == 0


def test_after_go_nothing_is_held_and_all_is_released() -> None:
    script = Script(hold_pages={1, 2})
    bench = Bench.of(script.row())
    bench.feed(HEAD + part(page(1, content=PAGE_A)))
    bench.thinner.go()
    assert bench.feed(part(page(2, content=PAGE_B))) == part(page(2, content=PAGE_B), page(1, None, PAGE_A))
    assert bench.feed(part(page(1, content=PAGE_C))) != EMPTY
    assert bench.memory()[1] == PAGE_C


def test_a_small_output_is_filled_again_and_again() -> None:
    """Releasing more than fits: run() comes back where it was, and no page is lost or doubled."""
    thinner = Thinner(Script(hold_pages=set(range(10))).row(), SECRET, 100 * 4096, batch_pages=2)
    records = [page(i, content=bytes([i + 1]) * 4096) for i in range(8)]
    stream = HEAD + part(*records) + part(last=True) + TAIL
    view, out, result, full = memoryview(stream), Output(2 * PAGE_ROOM), bytearray(), 0
    while (progress := thinner.run(out, 0.0)) is not PauseReason.ENDED:
        result += b"".join(out.pieces())
        out.clear()
        full += progress is PauseReason.OUTPUT_FULL
        if progress is PauseReason.NEED_INPUT:
            room = thinner.room()
            room[: len(view)] = view
            thinner.received(len(view))
            view = view[:0]
    assert full >= 3
    bench = Bench(thinner, output=result)
    assert [bench.memory()[i] for i in range(8)] == [bytes([i + 1]) * 4096 for i in range(8)]
    assert thinner.counters.by_method[Method.FULL] == 8


def test_skipped_counts_what_the_destination_holds_not_what_waits() -> None:
    """PageCounters.skipped: "not sent because the destination already held them"."""
    bench = Bench.of(Script(hold_pages={1}).row())
    bench.feed(HEAD + part(page(1, content=PAGE_A), page(2, None, PAGE_A)))
    assert bench.thinner.counters.by_method[Method.FULL] == 1
    assert bench.thinner.counters.by_method[Method.SKIP] == 0
    bench.feed(part(last=True))
    assert bench.thinner.counters.by_method[Method.FULL] == 2
    assert bench.thinner.counters.by_method[Method.SKIP] == 0


def test_a_released_page_comes_with_its_own_arrivals() -> None:
    """What a strategy is told when held pages are encoded: theirs, not those of the last batch."""
    script = Script(hold_pages={1})
    bench = Bench.of(script.row())
    bench.feed(
        HEAD + part(page(1, content=PAGE_A)) + part(page(1, content=PAGE_B)) + part(page(5, content=PAGE_C))
    )
    script.seen.clear()
    bench.feed(part(last=True))
    assert ("allow", {1: 2}) in script.seen


def test_a_held_zero_record_stays_a_zero_record() -> None:
    """A ZERO record is 9 bytes whatever the strategy allows; held and released it must not become 4104."""
    bench = Bench.of(Script(hold_pages={1}, allowed=Allow.NOTHING).row(Signing.NOTHING))
    bench.feed(HEAD + part(zero(1)))
    assert bench.feed(part(last=True)) == part(zero(1), last=True)


@pytest.mark.parametrize("name", ["pages", "masks", "first", "arrivals", "sizes"])
def test_a_strategy_that_scribbles_in_its_facts_cannot_corrupt(name: str) -> None:
    """Invariant 7. A slip such as ``facts.masks &= ...`` is enough; an error is as good as no effect."""

    def scribble(facts: PageFacts) -> None:
        getattr(facts, name)[...] = 0

    script = Script()
    bench = Bench.of(script.row())
    bench.feed(HEAD + part(page(1, content=PAGE_A), page(2, None, PAGE_A)))
    script.on_facts = scribble
    try:
        bench.feed(part(page(1, content=PAGE_B), page(2, None, PAGE_C)))
    except ValueError:
        return
    assert (bench.memory()[1], bench.memory()[2]) == (PAGE_B, PAGE_C)


def test_facts_say_what_is_known() -> None:
    seen: list[tuple[object, ...]] = []

    def note(facts: PageFacts) -> None:
        seen.append(
            (facts.now_s, facts.round, facts.pages.tolist(), facts.first.tolist(), facts.arrivals.tolist(),
             [f"{mask:x}" for mask in facts.masks], facts.hold_budget_pages)
        )  # fmt: skip

    bench = Bench.of(Script(on_facts=note).row(), hold_pages=9)
    bench.feed(HEAD + part(page(1, content=PAGE_A)))
    bench.now_s = 2.5
    bench.thinner.begin_round(3)
    bench.feed(part(page(1, content=PAGE_A[:-1] + b"\0"), page(0, None, PAGE_A)))
    assert seen == [
        (0.0, 0, [1], [True], [0], ["ffffffff"], 9),
        (2.5, 3, [1, 0], [False, True], [1, 0], ["8000", "ffffffff"], 9),
    ]


@pytest.mark.parametrize("allowed", [Allow.NOTHING, Allow.SKIP, Allow.DELTA, Allow.SPARSE, ALL, Allow(255)])
@pytest.mark.parametrize("signing", Signing)
def test_whatever_is_allowed_the_pages_arrive(allowed: Allow, signing: Signing) -> None:
    bench = Bench.of(Script(allowed=allowed).row(signing))
    bench.feed(HEAD)
    few = bytes(100) + b"few" + bytes(3993)
    for content in (PAGE_A, few, PAGE_A[:9] + few[9:], bytes(4096), few, few, PAGE_B):
        bench.feed(part(page(7, content=content), page(1, b"pc.bios", few if content == PAGE_A else content)))
        assert bench.memory()[7] == content
    assert bench.memory()[9] == PAGE_B


UNKNOWN = {
    "a subsection": HEADER + configuration(b"\x05" + idstr(b"configuration/new") + be32(1) + b"?"),
    "device state first": HEADER + configuration() + start(b"timer", 1, b"state", kind=4),
    "no footers": HEADER + configuration() + ram_start()[:-5] + part(page(1))[:-5],
    "a command": HEAD + command(12, b"12") + EMPTY,
    "a section between": HEAD + EMPTY + start(b"block", 9, b"?"),
    "RAM version 5": HEADER + configuration() + start(b"ram", 2, block_list(), version=5),
}


@pytest.mark.parametrize("what", UNKNOWN)
@pytest.mark.parametrize("chunk", [1, 50, 10**6])
def test_unknown_before_the_first_page_makes_a_pipe(what: str, chunk: int) -> None:
    stream = UNKNOWN[what] + b"\x7e whatever follows, pages too " + page(1) * 3 + bytes(9000)
    bench = Bench.of(TABLE["pagethrift"]())
    for i in range(0, len(stream), chunk):
        bench.feed(stream[i : i + chunk])
    assert bench.thinner.phase is StreamPhase.PIPE
    assert not bench.ended
    bench.end()
    assert bench.ended
    assert bytes(bench.output) == stream
    assert bench.thinner.counters.out_bytes == bench.thinner.counters.main_in_bytes == len(stream)
    assert "forwarding everything untouched" in bench.thinner.warning
    assert "\n" not in bench.thinner.warning


def test_a_pipe_with_a_tiny_output() -> None:
    thinner, out, result = Thinner(TABLE["pagethrift"](), SECRET), Output(3), bytearray()
    stream = UNKNOWN["a command"]
    thinner.room()[: len(stream)] = stream
    thinner.received(len(stream))
    while thinner.run(out, 0.0) is PauseReason.OUTPUT_FULL:
        result += b"".join(out.pieces())
        out.clear()
    assert bytes(result + b"".join(out.pieces())) == stream


@pytest.mark.parametrize("held", [False, True])
def test_unknown_after_the_first_page_is_an_error(held: bool) -> None:
    """Held pages count: they were taken out of the stream."""
    bench = Bench.of(Script(hold_pages={1} if held else set()).row())
    bench.feed(HEAD + part(page(1, content=PAGE_A)))
    with pytest.raises(StreamError, match="a known command, got 12") as caught:
        bench.feed(command(12))
    assert caught.value.offset == len(HEAD + part(page(1))) + 1
    assert bench.thinner.phase is StreamPhase.RAM
    assert not bench.thinner.warning


@pytest.mark.parametrize(
    ("stream", "match"),
    [
        (HEADER + configuration() + command(3, bytes(16)), "capability postcopy-ram .switch it off"),
        (HEAD + b"\x02" + be32(2) + be64(0x100), "capability compress .switch it off"),
        (b"\x11\x22\x33\x44" + bytes(60), "capability multifd off"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", "TLS"),
        (HEAD + part(page(9, b"pc.bios")), "a page inside its RAM block"),
    ],
)
def test_refused_features_are_named_never_piped(stream: bytes, match: str) -> None:
    with pytest.raises(StreamError, match=match):
        Bench.of(TABLE["pagethrift"]()).feed(stream)


@pytest.mark.parametrize("signing", Signing)
def test_absurd_ram_is_an_error_of_the_stream(signing: Signing) -> None:
    """64 TiB announced by a corrupt stream: StreamError or a lazy ledger, never MemoryError."""
    bench = Bench.of(Script().row(signing))
    listed = HEADER + configuration() + ram_start(block_list([(b"pc.ram", 1 << 34)]))
    try:
        bench.feed(listed)
    except StreamError as error:
        assert "TiB" in str(error)  # noqa: PT017


@pytest.mark.parametrize("strategy", TABLE)
def test_a_stream_in_one_go(strategy: str) -> None:
    assert thin(whole(), TABLE[strategy](), SECRET) == whole()


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        Thinner(TABLE["pagethrift"](), bytes(31))
    Thinner(TABLE["thesis"](), b"")


def test_the_table_of_blocks_is_the_streams() -> None:
    bench = Bench.of(TABLE["pagethrift"]())
    bench.feed(HEAD)
    assert [(block.name, block.pages) for block in bench.thinner.table.blocks] == list(BLOCKS)
    assert not np.any(bench.thinner.ledger.state)


def delta(index: int, payload: bytes) -> bytes:
    """An XBZRLE record in the block of the record before."""
    return be64(index * 4096 | 0x60) + b"\x01" + len(payload).to_bytes(2, "big") + payload


@pytest.mark.parametrize("signing", Signing)
def test_after_a_sources_delta_the_next_full_page_is_neither_skipped_nor_a_delta(signing: Signing) -> None:
    bench = Bench.of(Script().row(signing))
    first = part(page(1, content=PAGE_A), delta(1, b"\x05\x01x"))
    assert bench.feed(HEAD + first) == HEAD + first
    assert bench.thinner.counters.pages.delta == 1
    again = part(page(1, None, PAGE_A))
    assert bench.feed(again) == again
    assert bench.feed(again) == (again if signing is Signing.NOTHING else EMPTY)


def test_a_sources_delta_for_a_page_never_sent_goes_on() -> None:
    bench = Bench.of(Script(hold_pages={1}).row())
    first = part(zero(0), delta(1, b"\x05\x01x"))
    assert bench.feed(HEAD + first) == HEAD + first
    assert len(bench.thinner.held) == 0
    assert bench.memory()[1] == b"\x0f" * 5 + b"x" + b"\x0f" * 4090


def test_a_broken_delta_of_the_sources_is_refused() -> None:
    with pytest.raises(StreamError, match="an XBZRLE payload, got a broken one for page 1"):
        Bench.of(Script().row()).feed(HEAD + part(zero(0), delta(1, b"\x05\x02x")))


def test_a_held_page_is_sent_before_the_sources_delta_against_it() -> None:
    """Other held pages stay."""
    bench = Bench.of(Script(hold_pages={1, 2}).row())
    assert bench.feed(HEAD + part(page(1, content=PAGE_A), page(2, None, PAGE_B))) == HEAD + EMPTY
    changed = delta(1, b"\x05\x01x")
    assert bench.feed(part(changed)) == part(page(1, content=PAGE_A), changed)
    assert bench.thinner.held.page_in[bench.thinner.held.used()].tolist() == [2]
    assert bench.memory()[1] == PAGE_A[:5] + b"x" + PAGE_A[6:]

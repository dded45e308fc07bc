"""Streams and strategies to try to break the thinner with."""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from pagethrift.engine.output import Output, PauseReason
from pagethrift.engine.thinner import Thinner
from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from pagethrift.model.pages import PAGE_BYTES, U8, U64, Block
from pagethrift.strategies.base import HeldFacts, PageFacts, Signing, Status, Strategy
from pagethrift.stream.synthetic import StreamBuilder
from pagethrift.stream.writer import RUN_BYTES
from pagethrift.stream.xbzrle import encode_delta


def before(block: Block) -> U8:
    """What a destination may hold before the stream: never zeros, so that nothing can rely on zeros."""
    seed = int.from_bytes(block.name, "big") & 0xFFFFFFFF
    return np.random.default_rng(seed).integers(1, 256, block.used_bytes, np.uint8)


@dataclass
class ChaosHold:
    """Holds and releases at random."""

    rng: random.Random

    def hold(self, facts: PageFacts) -> npt.NDArray[np.bool_] | None:
        if self.rng.random() < 0.2:
            return None
        return np.array([self.rng.random() < 0.5 for _ in facts.pages], np.bool_)

    def release(self, facts: HeldFacts) -> npt.NDArray[np.bool_] | None:
        if self.rng.random() < 0.4:
            return None
        return np.array([self.rng.random() < 0.3 for _ in facts.pages], np.bool_)


@dataclass
class ChaosEncode:
    """Allows a random set of methods for each page."""

    rng: random.Random

    def allow(self, facts: PageFacts) -> U8:
        return np.array([self.rng.randrange(8) for _ in facts.pages], np.uint8)


@dataclass
class ChaosStop:
    """Switches over at random."""

    rng: random.Random

    def decide(self, facts: StopFacts) -> StopDecision:
        return StopDecision(StopAction.SWITCH_OVER if self.rng.random() < 0.1 else StopAction.CONTINUE)


def chaos(seed: int, signing: Signing | None = None) -> Strategy:
    """A strategy that answers at random: slow, never wrong."""
    rng = random.Random(seed)
    return Strategy(
        "chaos", "random answers", "tests", Status.OURS, signing or rng.choice(list(Signing)),
        ChaosHold(rng), ChaosEncode(rng), ChaosStop(rng),
    )  # fmt: skip


def random_stream(seed: int, records: int = 60, deltas: bool = False, return_path: bool = False) -> bytes:
    """A legal stream: flips, small edits, zeroing, sparse pages, several blocks, repeats.

    ``deltas``: the source has xbzrle on, and sends many a page that it sent before as XBZRLE; rarely one
    that it never sent.
    """
    rng = random.Random(seed)
    pages_of = [rng.randint(1, 6) for _ in range(rng.randint(1, 3))]
    names = ["pc.ram", "pc.bios", "/rom@etc/acpi/tables"]
    builder = StreamBuilder([(names[i], count) for i, count in enumerate(pages_of)], return_path=return_path)
    content: dict[tuple[int, int], bytearray] = {}
    pool = [_page(rng) for _ in range(4)]
    bodies = rng.randint(1, 5)
    for body in range(bodies):
        builder.begin_body(last=body == bodies - 1)
        for _ in range(rng.randint(0, records // bodies)):
            block = rng.randrange(len(pages_of))
            page = rng.randrange(pages_of[block])
            data = _next(rng, content.get((block, page)), pool)
            old, content[block, page] = content.get((block, page)), data
            if deltas and (payload := _delta(rng, old, data)) is not None:
                builder.delta(block, page, payload)
                continue
            zero_record = not any(data) and rng.random() < 0.7
            builder.page(block, page, b"" if zero_record else bytes(data))
        builder.end_body()
    return builder.finish(rng.randbytes(rng.randint(0, 200)))


def _delta(rng: random.Random, old: bytearray | None, new: bytearray) -> bytes | None:
    """An XBZRLE payload that makes ``old`` into ``new``; None: a full page is sent."""
    if old is None:
        if rng.random() < 0.9:
            return None
        new[:] = bytes(PAGE_BYTES)  # whatever it stands for, the source goes on from zeros
        return bytes([9, 3]) + rng.randbytes(3)
    if rng.random() < 0.3:
        return None
    out = np.zeros(2 * PAGE_BYTES + 4100, np.uint8)
    before, after = np.frombuffer(old, np.uint8), np.frombuffer(new, np.uint8)
    stop = encode_delta(before, 0, after, 0, out, 0, PAGE_BYTES)
    return out[:stop].tobytes() if 0 < stop <= PAGE_BYTES else None


def _page(rng: random.Random) -> bytearray:
    kind = rng.randrange(3)
    if kind == 0:
        return bytearray(rng.randbytes(PAGE_BYTES))
    data = bytearray(PAGE_BYTES)
    for _ in range(rng.randint(1, 30) if kind == 1 else 300):
        data[rng.randrange(PAGE_BYTES)] = rng.randrange(256)
    return data


def _next(rng: random.Random, old: bytearray | None, pool: list[bytearray]) -> bytearray:
    choice = rng.randrange(6)
    if choice == 0:
        return bytearray(PAGE_BYTES)
    if choice <= 2 or old is None:
        return bytearray(rng.choice(pool))
    data = bytearray(old)
    if choice == 3:
        return data
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(PAGE_BYTES)
        length = min(rng.choice((1, 8, 300)), PAGE_BYTES - at)
        data[at : at + length] = rng.randbytes(length) if choice == 4 else bytes(length)
    return data


def thin_in_pieces(
    stream: bytes,
    strategy: Strategy,
    seed: int,
    hold_pages: int = 3,
    base: Callable[[bytes], Mapping[bytes, U64]] | None = None,
) -> tuple[bytes, Thinner]:
    """Thin a stream in random pieces, with small batches, small outputs and a clock.

    ``base`` returns what the destination holds already, signed with the secret it is given.

    Outputs are sent late, up to three of them, while more is received and thinned.
    """
    rng = random.Random(seed)
    batch = rng.choice((1, 2, 7, 64))
    secret = rng.randbytes(32)
    thinner = Thinner(
        strategy,
        secret,
        hold_pages * PAGE_BYTES,
        batch_pages=batch,
        run_bytes=rng.choice((1, 5000, RUN_BYTES)),
        base=base(secret) if base else None,
    )
    capacity, late = batch * 5000 + rng.choice((0, 1, 9000)), rng.randrange(4)
    idle, unsent = [Output(capacity) for _ in range(4)], deque[Output]()
    result, view = bytearray(), memoryview(stream)
    now_s = 0.0
    while True:
        now_s += rng.random()
        unsent.append(idle.pop())
        progress = thinner.run(unsent[-1], now_s)
        while len(unsent) > (0 if progress is PauseReason.ENDED else late):
            out = unsent.popleft()
            result += b"".join(out.pieces())
            out.clear()
            idle.append(out)
        if progress is PauseReason.ENDED:
            return bytes(result), thinner
        if progress is PauseReason.NEED_INPUT:
            room = thinner.room(rng.choice((1, 100, 5000, 1 << 20)))
            count = min(len(room), len(view), rng.choice((1, 13, 4000, 100_000)))
            room[:count] = view[:count]
            view = view[count:]
            thinner.received(count)
            if rng.random() < 0.1:
                thinner.begin_round(thinner.round + 1)
            if rng.random() < 0.02:
                thinner.go()


seeds = st.integers(0, 2**32 - 1)


def examples(usual: int) -> int:
    """Return how many examples a property test tries: PAGETHRIFT_EXAMPLES multiplies all (10, 0.1)."""
    return max(1, round(usual * float(os.environ.get("PAGETHRIFT_EXAMPLES", "1"))))

"""Strategies that follow a script, and a thinner fed by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pagethrift.engine.output import Output, PauseReason
from pagethrift.engine.thinner import Thinner
from pagethrift.model.facts import StopDecision, StopFacts
from pagethrift.model.methods import Allow
from pagethrift.model.pages import U8
from pagethrift.strategies.base import HeldFacts, PageFacts, Signing, Status, Strategy
from pagethrift.strategies.stop.rules import PendingFits
from tests.unit import twins
from tests.unit.stream.pieces import BLOCKS, HEADER, configuration, ram_start

SECRET = bytes(range(32))
HEAD = HEADER + configuration() + ram_start()
PAGE_A, PAGE_B, PAGE_C = (bytes([value]) * 4096 for value in (0xA1, 0xB2, 0xC3))
ALL = Allow.SKIP | Allow.DELTA | Allow.SPARSE


@dataclass
class Script:
    """Hold, encode and stop in one: pages to hold and to release, what is allowed, what was seen."""

    hold_pages: set[int] = field(default_factory=set)
    release_pages: set[int] = field(default_factory=set)
    allowed: Allow = ALL
    on_facts: Callable[[PageFacts], None] | None = None
    seen: list[tuple[str, object]] = field(default_factory=list)

    def hold(self, facts: PageFacts) -> npt.NDArray[np.bool_]:
        self.seen.append(("hold", facts.pages.tolist()))
        return np.isin(facts.pages, list(self.hold_pages))

    def release(self, facts: HeldFacts) -> npt.NDArray[np.bool_]:
        arrays = facts.pages, facts.since_s, facts.since_round, facts.arrivals
        rows = zip(*(array.tolist() for array in arrays), strict=True)
        self.seen.append(("release", sorted(rows)))
        return np.isin(facts.pages, list(self.release_pages))

    def allow(self, facts: PageFacts) -> Allow | U8:
        if self.on_facts:
            self.on_facts(facts)
        self.seen.append(("allow", dict(zip(facts.pages.tolist(), facts.arrivals.tolist(), strict=True))))
        return self.allowed

    def decide(self, facts: StopFacts) -> StopDecision:
        return PendingFits().decide(facts)

    def row(self, signing: Signing = Signing.SUBPAGES) -> Strategy:
        return Strategy("script", "as told", "tests", Status.OURS, signing, self, self, self)


@dataclass
class Bench:
    """A thinner, its output so far and the clock."""

    thinner: Thinner
    now_s: float = 0.0
    output: bytearray = field(default_factory=bytearray)
    ended: bool = False

    @classmethod
    def of(cls, strategy: Strategy, hold_pages: int = 100) -> Bench:
        return cls(Thinner(strategy, SECRET, hold_pages * 4096))

    def feed(self, data: bytes) -> bytes:
        """Feed everything; return what came out of it."""
        before, view, out = len(self.output), memoryview(data), Output()
        while True:
            progress = self.thinner.run(out, self.now_s)
            self.output += b"".join(out.pieces())
            out.clear()
            if progress is PauseReason.ENDED:
                self.ended = True
                return bytes(self.output[before:])
            if progress is PauseReason.NEED_INPUT:
                if not len(view):
                    return bytes(self.output[before:])
                room = self.thinner.room()
                count = min(len(room), len(view))
                room[:count] = view[:count]
                view = view[count:]
                self.thinner.received(count)

    def end(self) -> bytes:
        """Say that the stream ended."""
        self.thinner.room()
        self.thinner.received(0)
        return self.feed(b"")

    def memory(self) -> dict[int, bytes]:
        """What a destination holds after what came out so far: whole PART sections after HEAD."""
        found: dict[int, bytes] = dict.fromkeys(range(10), b"\x0f" * 4096)
        rest, block = bytes(self.output)[len(HEAD) :], -1
        while rest and rest[0] in (2, 3):
            taken, block = twins.load(rest[5:], list(BLOCKS), found, block)
            rest = rest[5 + taken + 13 :]
        return found

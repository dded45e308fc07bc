"""Hand-made facts: only what a test is about needs to be said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pagethrift.model.facts import StopFacts
from pagethrift.strategies.base import HeldFacts, PageFacts

MBIT_100_BPS = 12.5e6
LIMIT_S = 0.3
ROOM_BYTES = int(LIMIT_S * MBIT_100_BPS)
"""3.75 MB: what the link carries within the downtime limit"""


def page_facts(n: int, round_: int, **more: Any) -> PageFacts:
    """n pages 0..n-1 of 100 bytes each, on a link of 100 Mbit/s; lists become arrays."""
    kinds = {"history": np.uint8, "arrivals": np.uint8, "watched": np.uint8, "dirty_again": np.bool_}
    more = {name: np.array(value, kinds[name]) if name in kinds else value for name, value in more.items()}
    facts = PageFacts(
        now_s=1.0, round=round_, pages=np.arange(n), masks=np.ones(n, np.uint32), first=np.zeros(n, np.bool_),
        arrivals=np.ones(n, np.uint8), sizes=np.full(n, 100, np.int32), held_pages=0, hold_budget_pages=1000,
        link_bps=MBIT_100_BPS, downtime_limit_s=LIMIT_S,
    )  # fmt: skip
    return replace(facts, **more)


def held_facts(since_round: list[int], round_: int, **more: Any) -> HeldFacts:
    """Held pages of 100 bytes each, by the round their newest content arrived in; the later, the newer."""
    n = len(since_round)
    facts = HeldFacts(
        now_s=100.0, round=round_, pages=np.arange(n), since_s=np.array(since_round, float),
        since_round=np.array(since_round, np.int64), arrivals=np.ones(n, np.uint8),
        sizes=np.full(n, 100, np.int32), link_bps=MBIT_100_BPS, downtime_limit_s=LIMIT_S,
    )  # fmt: skip
    return replace(facts, **more)


def stop_facts(dirty: list[int], sent: list[int] | None = None, **more: Any) -> StopFacts:
    """A migration of 1 GiB at the beginning of its last listed round, ten seconds a round.

    ``dirty``: pages dirty at the beginning of each round after the first; ``sent``: bytes sent in
    each round, by default all dirty pages in full, and nothing yet of the last.
    """
    total = 1 << 18
    pages = (total, *dirty)
    round_ = len(dirty)
    rounds_sent = tuple(sent) if sent is not None else (*(4096 * n for n in pages[:-1]), 0)
    facts = StopFacts(
        now_s=10.0 * round_, round=round_, round_began_s=10.0 * round_, total_pages=total,
        remaining_pages=pages[-1], dirty_pages_per_s=pages[-1] / 10 if round_ else 0.0,
        first_round_bytes=rounds_sent[0], retransferred_bytes=sum(rounds_sent[1:]),
        round_sent_bytes=rounds_sent, round_dirty_pages=pages, retransferred_pages=sum(dirty[:-1]),
        held_bytes=0, unsent_bytes=0, link_bps=MBIT_100_BPS, downtime_limit_s=LIMIT_S,
    )  # fmt: skip
    return replace(facts, **more)

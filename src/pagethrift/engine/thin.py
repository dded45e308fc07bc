"""Thinning a whole stream in memory."""

from __future__ import annotations

from pagethrift.engine.output import Output, PauseReason
from pagethrift.engine.thinner import Thinner
from pagethrift.model.defaults import HOLD_BUDGET_BYTES
from pagethrift.strategies.base import Strategy


def thin(
    stream: bytes, strategy: Strategy, secret: bytes, hold_budget_bytes: int = HOLD_BUDGET_BYTES
) -> bytes:
    """Thin a whole stream in memory. Raises StreamError."""
    thinner, out, result = Thinner(strategy, secret, hold_budget_bytes), Output(), bytearray()
    view = memoryview(stream)
    while True:
        progress = thinner.run(out, 0.0)
        result += b"".join(out.pieces())
        out.clear()
        if progress is PauseReason.ENDED:
            return bytes(result)
        if progress is PauseReason.NEED_INPUT:
            room = thinner.room()
            count = min(len(room), len(view))
            room[:count] = view[:count]
            view = view[count:]
            thinner.received(count)

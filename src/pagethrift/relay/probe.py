"""Asking the destination how it syncs compressed channels: engine/sync_point.py says why."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from pagethrift.errors import LinkError
from pagethrift.model.channels import SyncMode

SILENCE_S: Mapping[SyncMode | None, float] = {SyncMode.SECTION: 1.5, None: 5.0, SyncMode.ROUND: 15.0}
"""how long a destination must not answer before it gets a SYNC, by what its machine type says; a busy one may
answer late"""
LEAST_ANSWER_S = 1.0
"""for the answer after the SYNC, which comes in milliseconds"""
STEP_S = 0.05


class Probe:
    """One question; the thread that reads the return path calls ``answered``."""

    def __init__(self) -> None:
        self._answer = threading.Event()

    def answered(self) -> None:
        """Say that the PONG has come."""
        self._answer.set()

    def mode(
        self,
        expected: SyncMode | None,
        answer_s: float,
        send_sync: Callable[[], None],
        ask_again: Callable[[], None],
        check: Callable[[], None],
    ) -> SyncMode:
        """Return how the destination syncs, once the PING is queued.

        ``expected``: what the machine type says. After ``send_sync``, which lets every channel write a SYNC,
        each destination answers at once unless it hangs; ``answer_s`` is how long all may take. Where the
        machine type says nothing, ``ask_again`` asks a second time. ``check`` raises when the relay ends.
        Raises LinkError when the destination does not answer, or answers as its machine type rules out.
        """
        silence_s = SILENCE_S[expected]
        if self._wait(silence_s, check):
            return SyncMode.ROUND  # no destination of the other kind can answer before a SYNC
        send_sync()
        rest_s = max(LEAST_ANSWER_S, answer_s - silence_s)
        within_s = silence_s + rest_s
        if not self._wait(rest_s, check):
            raise LinkError(
                f"the destination does not answer within {within_s:.0f} s and may hang for good: end that"
                " QEMU; --channels must be its multifd-channels, with multifd-compression zstd"
            )
        if expected is None:
            self._answer.clear()
            ask_again()
            certain = not self._wait(SILENCE_S[SyncMode.SECTION], check)
            send_sync()
            certain = certain and self._wait(rest_s, check)
        else:
            certain = expected is SyncMode.SECTION
        if not certain:
            raise LinkError(
                f"the destination did not answer for {silence_s:.0f} s, so that it is not certain how it"
                " reads compressed channels; perhaps it is overloaded: start it anew, use --compress off"
            )
        return SyncMode.SECTION

    def _wait(self, timeout_s: float, check: Callable[[], None]) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while not self._answer.wait(STEP_S):
            check()
            if time.monotonic() > deadline_s:
                return False
        return True

"""Asking the destination how it syncs compressed channels: engine/sync_point.py says why."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pagethrift.errors import LinkError
from pagethrift.model.channels import SyncMode

SECTION_SILENCE_S = 1.5
"""how long a destination must not answer, that is expected to wait at the end of a section"""
ROUND_SILENCE_S = 15.0
"""the same, where nothing says so: a busy destination may answer late"""
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
        check: Callable[[], None],
    ) -> SyncMode:
        """Return how the destination syncs, once the PING is queued.

        ``expected``: what the machine type says. After ``send_sync``, which lets every channel write a SYNC,
        each destination answers at once unless it hangs; ``answer_s`` is how long all may take. ``check``
        raises when the relay ends. Raises LinkError when the destination does not answer, or answers as its
        machine type rules out.
        """
        silence_s = SECTION_SILENCE_S if expected is SyncMode.SECTION else ROUND_SILENCE_S
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
        if expected is SyncMode.ROUND:
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

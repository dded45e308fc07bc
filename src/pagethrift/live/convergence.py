"""Saying that a migration will not converge, and what would end it."""

from __future__ import annotations

import math

from pagethrift.units import format_seconds

LEAST_ROUNDS = 8
"""a guest that has just become busy is given this many"""
LATELY_ROUNDS = 4
BETTER = 0.95
"""a best prediction below this share of the best one before it is progress"""
MARGIN = 1.2
"""over the best prediction: predictions scatter by 10 to 20 %"""


class Convergence:
    """Watches the predicted downtime from round to round."""

    def __init__(self) -> None:
        self._best_s: dict[int, float] = {}
        self.warning = ""
        """empty while the migration may still converge"""

    def look(self, round_: int, predicted_s: float | None, limit_s: float) -> None:
        """Take in a prediction made in a round; ``limit_s``: the downtime limit in force."""
        if predicted_s is None:
            return
        best_s = min(predicted_s, self._best_s.get(round_, predicted_s))
        self._best_s[round_] = best_s
        earlier = [best for number, best in self._best_s.items() if number <= round_ - LATELY_ROUNDS]
        lately = [best for number, best in self._best_s.items() if number > round_ - LATELY_ROUNDS]
        stalled = len(self._best_s) >= LEAST_ROUNDS and min(lately) > BETTER * min(earlier)
        if not stalled or min(self._best_s.values()) <= limit_s:
            self.warning = ""
        else:
            self.warning = self._advice(round_, min(self._best_s.values()), predicted_s, limit_s)

    def _advice(self, rounds: int, best_s: float, predicted_s: float, limit_s: float) -> str:
        enough_ms = math.ceil(best_s * MARGIN * 100) * 10
        share = max(1, math.floor(100 * limit_s / best_s))
        return (
            f"this does not converge: after {rounds} rounds a switchover would still take"
            f" {format_seconds(best_s)} at best, {format_seconds(limit_s)} are allowed; it ends with"
            f" --downtime-limit {enough_ms}ms, with --force-after (downtime about"
            f" {format_seconds(predicted_s)}), or if the guest is throttled to about {share} % of its speed"
            " (--plain --auto-converge)"
        )

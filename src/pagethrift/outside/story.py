"""What a log tells of a migration: its events, found by comparing one status with the one before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from pagethrift.model.running import Running

Say = Callable[[str, Mapping[str, object], int], None]


class Story:
    """Tells ``say`` (event, fields, level) what has changed since the last look."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._before: Running | None = None

    def begin(self, running: Running) -> None:
        """Tell what is about to begin."""
        about = {name: getattr(running, name) for name in ("pid", "guest", "source", "destination")}
        self._say("start", {"kind": running.kind.value, **about, **_limits(running)}, logging.INFO)

    def look(self, running: Running) -> None:
        """Tell what is new: the connection to the destination, a state, a round, a decision, a warning."""
        before, self._before = self._before or Running(state=""), running
        if running.warning and running.warning != before.warning:
            self._say("warning", {"warning": running.warning}, logging.WARNING)
        if running.refused > before.refused:
            self._say("caller refused", {"refused": running.refused}, logging.WARNING)
        if running.out_bytes and not before.out_bytes:
            self._say("destination connected", {"destination": running.destination}, logging.INFO)
        if running.state != before.state:
            self._say("state", {"state": running.state, **_counters(running)}, logging.INFO)
        if running.round > before.round:
            self._say("round", {"round": running.round, **_counters(running)}, logging.INFO)
        if before.id and _limits(running) != _limits(before):
            self._say("changed", _limits(running), logging.INFO)
        if running.switchover and running.switchover != before.switchover:
            why = {"reason": running.switchover, "predicted_downtime_s": running.predicted_downtime_s}
            self._say("switchover", {**why, **_limits(running), **_counters(running)}, logging.INFO)

    def end(self, error: str, exit_code: int, more: Mapping[str, object]) -> None:
        """Tell how it ended; ``more`` comes from its result."""
        counters = _counters(self._before) if self._before else {}
        level = logging.ERROR if error else logging.INFO
        self._say("error" if error else "end", {"exit_code": exit_code, **({"error": error} if error else {}),
                                                **counters, **more}, level)  # fmt: skip


def _limits(running: Running) -> dict[str, Any]:
    return {"downtime_limit_s": running.downtime_limit_s, "bandwidth_cap_bps": running.bandwidth_cap_bps}


def _counters(running: Running) -> dict[str, Any]:
    return {
        "in_bytes": running.in_bytes,
        "out_bytes": running.out_bytes,
        "link_bps": running.link_bps,
        "held_pages": running.held_pages,
        "pages": dict(running.pages.named()),
    }

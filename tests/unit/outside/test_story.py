"""What a log tells of a migration, from one status to the next."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from pagethrift.model.result import PageCounters
from pagethrift.model.running import RunKind, Running
from pagethrift.outside.story import Story

ABOUT = Running(
    "one", RunKind.MIGRATE, pid=7, guest="vm1", destination="host2:4444", state="setup", downtime_limit_s=0.3
)


class Heard:
    def __init__(self) -> None:
        self.lines: list[tuple[str, Mapping[str, object], int]] = []
        self.story = Story(lambda *said: self.lines.append(said))

    def events(self) -> list[str]:
        return [event for event, _, _ in self.lines]


def test_the_events_of_a_migration_in_order() -> None:
    heard = Heard()
    heard.story.begin(ABOUT)
    active = replace(ABOUT, state="active", in_bytes=10)
    sending = replace(active, out_bytes=5, pages=PageCounters(full=1))
    later = replace(sending, round=4, out_bytes=9)
    changed = replace(later, downtime_limit_s=0.5)
    decided = replace(changed, switchover="predicted downtime fits", predicted_downtime_s=0.2)
    for look in (
        ABOUT,
        ABOUT,
        active,
        sending,
        sending,
        later,
        changed,
        decided,
        decided,
        replace(decided, state="completed"),
    ):
        heard.story.look(look)
    heard.story.end("", 0, {"total_time_s": 7.5})
    assert heard.events() == [
        "start",
        "state",
        "state",
        "destination connected",
        "round",
        "changed",
        "switchover",
        "state",
        "end",
    ]
    said = {event: fields for event, fields, _ in heard.lines}
    assert (said["start"]["guest"], said["start"]["downtime_limit_s"]) == ("vm1", 0.3)
    assert said["round"]["round"] == 4
    assert said["changed"]["downtime_limit_s"] == 0.5
    assert (said["switchover"]["reason"], said["switchover"]["predicted_downtime_s"]) == (
        "predicted downtime fits",
        0.2,
    )
    assert (said["end"]["exit_code"], said["end"]["total_time_s"], said["end"]["out_bytes"]) == (0, 7.5, 9)


def test_warnings_errors_and_refused_callers_have_their_level() -> None:
    heard = Heard()
    heard.story.look(replace(ABOUT, warning="odd", refused=2))
    heard.story.look(replace(ABOUT, warning="odd", refused=2))
    heard.story.look(replace(ABOUT, warning="", refused=3))
    heard.story.end("the link failed", 4, {})
    assert [(event, level) for event, _, level in heard.lines if event != "state"] == [
        ("warning", logging.WARNING),
        ("caller refused", logging.WARNING),
        ("caller refused", logging.WARNING),
        ("error", logging.ERROR),
    ]
    _, last, _ = heard.lines[-1]
    assert (last["error"], last["exit_code"]) == ("the link failed", 4)


def test_one_that_failed_before_anything_was_seen() -> None:
    heard = Heard()
    heard.story.end("no such socket", 5, {})
    assert heard.lines == [("error", {"exit_code": 5, "error": "no such socket"}, logging.ERROR)]

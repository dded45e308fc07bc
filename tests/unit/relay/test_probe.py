"""The probe: each answer a destination may give, and when."""

from __future__ import annotations

import threading
import time

import pytest

from pagethrift.errors import LinkError
from pagethrift.model.channels import SyncMode
from pagethrift.relay import probe as probing
from pagethrift.relay.probe import Probe

ROUND, SECTION = SyncMode.ROUND, SyncMode.SECTION


class Asked:
    """A probe with short silences, and a destination that answers after so many seconds or a SYNC."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(probing, "SILENCE_S", {SECTION: 0.2, None: 0.5, ROUND: 0.6})
        monkeypatch.setattr(probing, "STEP_S", 0.01)
        monkeypatch.setattr(probing, "LEAST_ANSWER_S", 0.2)
        self.probe = Probe()
        self.syncs = 0
        self.answer_after_sync_s: float | None = None
        self.asked_again = 0
        self.answer_again_s: float | None = None

    def after(self, seconds: float) -> None:
        threading.Timer(seconds, self.probe.answered).start()

    def _sync(self) -> None:
        self.syncs += 1
        if self.answer_after_sync_s is not None:
            self.after(self.answer_after_sync_s)

    def _again(self) -> None:
        self.asked_again += 1
        if self.answer_again_s is not None:
            self.after(self.answer_again_s)

    def mode(self, expected: SyncMode | None, answer_s: float = 0.3) -> SyncMode:
        return self.probe.mode(expected, answer_s, self._sync, self._again, lambda: None)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


@pytest.mark.parametrize("expected", [ROUND, SECTION, None])
def test_an_answer_before_any_sync_is_round_mode_whatever_was_expected(
    asked: Asked, expected: SyncMode | None
) -> None:
    asked.after(0.05)
    assert asked.mode(expected) is ROUND
    assert asked.syncs == 0


def test_an_answer_that_is_there_already_needs_no_waiting(asked: Asked) -> None:
    asked.probe.answered()
    assert asked.mode(SECTION, 0.0) is ROUND


@pytest.mark.parametrize(("expected", "silence_s"), [(SECTION, 0.2), (None, 0.5)])
def test_an_answer_after_the_sync_only_is_section_mode(
    asked: Asked, expected: SyncMode | None, silence_s: float
) -> None:
    """Without a version in the machine type the silence must be long: a busy destination answers late."""
    asked.answer_after_sync_s = 0.05
    began_s = time.monotonic()
    assert asked.mode(expected) is SECTION
    assert time.monotonic() - began_s >= silence_s
    assert (asked.syncs, asked.asked_again) == ((1, 0) if expected else (2, 1))


def test_a_frozen_destination_of_an_unknown_machine_is_found_out_by_asking_again(asked: Asked) -> None:
    """It was frozen while the SYNC was withheld; thawed, it answers the second PING without one."""
    asked.answer_after_sync_s = asked.answer_again_s = 0.05
    with pytest.raises(LinkError, match="not certain how it reads compressed channels"):
        asked.mode(None)


def test_where_nothing_or_a_newer_machine_is_known_a_late_answer_is_believed(asked: Asked) -> None:
    asked.after(0.35)
    assert asked.mode(None) is ROUND
    assert asked.syncs == 0


def test_an_answer_that_the_machine_type_rules_out_is_not_believed(asked: Asked) -> None:
    """It was late, or the SYNC brought it: nobody knows, and guessing corrupts RAM."""
    asked.answer_after_sync_s = 0.05
    with pytest.raises(LinkError, match="not certain how it reads compressed channels"):
        asked.mode(ROUND)


@pytest.mark.parametrize("expected", [ROUND, SECTION, None])
def test_no_answer_at_all_says_what_to_look_at(asked: Asked, expected: SyncMode | None) -> None:
    with pytest.raises(LinkError, match=r"does not answer within \d s.*--channels must be") as caught:
        asked.mode(expected)
    assert asked.syncs == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("answer_s", "within_s"), [(0.0, 0.4), (1.0, 1.0)])
def test_the_time_for_an_answer_includes_the_silence_before_the_sync(
    asked: Asked, answer_s: float, within_s: float
) -> None:
    """The relay's own stall timeout begins with the probe, too."""
    began_s = time.monotonic()
    with pytest.raises(LinkError):
        asked.mode(SECTION, answer_s)
    assert within_s <= time.monotonic() - began_s < within_s + 0.8


@pytest.mark.parametrize("after_sync", [False, True])
def test_it_ends_when_the_relay_ends(asked: Asked, after_sync: bool) -> None:
    def check() -> None:
        if asked.syncs or not after_sync:
            raise LinkError("enough")

    began_s = time.monotonic()
    with pytest.raises(LinkError, match="enough"):
        asked.probe.mode(SECTION, 60, asked._sync, asked._again, check)
    assert time.monotonic() - began_s < 2

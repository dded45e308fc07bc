"""What is said of the guest follows from what both ends said, in every combination."""

from __future__ import annotations

import itertools

import pytest

from pagethrift.live.whereabouts import EndState, Whereabouts

STATES = ["running", "paused", "postmigrate", "inmigrate", ""]


def end(role: str, state: str, ended: bool = False) -> EndState:
    return EndState(f"{role}.qmp", state, ended)


@pytest.mark.parametrize(("source", "destination"), list(itertools.product(STATES, STATES)))
def test_nothing_is_claimed_that_was_not_said(source: str, destination: str) -> None:
    found = Whereabouts(end("s", source), end("d", destination), all_sent=True)
    said = found.sentence()
    both, none = source == destination == "running", "running" not in (source, destination)
    assert ("runs at BOTH ends" in said) == both
    silent = "" in (source, destination)
    assert ("runs at neither end" in said) == (none and not silent)
    assert ("nobody can say whether the guest runs" in said) == (none and silent)
    assert found.at_one_end == (not both and not none)
    assert ("the guest runs on at the source" in said) == (source == "running" and not both)
    assert ("the guest runs at the destination" in said) == (destination == "running" and not both)
    if none:
        assert "send cont to" in said or "send cont to it" in said
        assert f"the source {end('s', source).words()}" in said


def test_advice_never_starts_two_guests() -> None:
    gone = Whereabouts(end("s", "postmigrate"), end("d", "", ended=True), all_sent=True)
    assert "send cont to the source (s.qmp)" in gone.sentence()
    loaded = Whereabouts(end("s", "postmigrate"), end("d", "paused"), all_sent=True)
    assert "send cont to the destination (d.qmp), never to both" in loaded.sentence()
    silent = Whereabouts(end("s", "postmigrate"), end("d", ""), all_sent=True)
    assert "once the destination has ended, never to both" in silent.sentence()
    unasked = Whereabouts(end("s", ""), end("d", "paused"), all_sent=True)
    assert "ask the source (s.qmp) with query-status: if it says postmigrate" in unasked.sentence()
    half = Whereabouts(end("s", "paused"), end("d", "inmigrate"), all_sent=False)
    assert "send cont to the source" in half.sentence()


def test_without_a_destination_monitor_doubt_is_said() -> None:
    sure = Whereabouts(end("s", "running"), None, all_sent=False)
    assert sure.sentence() == "the guest runs on at the source"
    assert sure.at_one_end
    doubt = Whereabouts(end("s", "running"), None, all_sent=True)
    assert "nobody could ask the destination" in doubt.sentence()
    assert not doubt.at_one_end


def test_a_paused_guest_is_to_stay_paused() -> None:
    found = Whereabouts(end("s", "paused"), end("d", "inmigrate"), all_sent=False, ran=False)
    assert found.sentence() == "the guest stays at the source, which says paused"
    assert found.at_one_end

"""Where a domain is, in words: what both libvirts say decides, and what to do is a command."""

from __future__ import annotations

import pytest

from pagethrift.virt.whereabouts import Whereabouts

A, B = "qemu:///system", "qemu+ssh://host2/system"


def at(source: str, destination: str, was_paused: bool = False, leave_paused: bool = False) -> Whereabouts:
    return Whereabouts("vm1", A, B, source, destination, was_paused, leave_paused)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (at("gone", "running"), f"domain vm1 runs at the destination ({B})"),
        (at("shut off", "running"), f"domain vm1 runs at the destination ({B})"),
        (at("gone", "paused", leave_paused=True), f"domain vm1 is paused at the destination ({B})"),
        (at("running", "gone"), f"domain vm1 runs on at the source ({A})"),
        (at("running", "shut off"), f"domain vm1 runs on at the source ({A})"),
        (at("running", ""), f"domain vm1 runs on at the source ({A}); the destination does not answer"),
        (at("paused", "gone", was_paused=True), f"domain vm1 stays paused at the source ({A})"),
    ],
)
def test_at_one_end(found: Whereabouts, sentence: str) -> None:
    assert found.sentence() == sentence
    assert found.at_one_end


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        (at("running", "running"), f"virsh -c {B} destroy vm1"),
        (at("gone", "paused"), f"virsh -c {B} resume vm1"),
        (at("paused", "gone"), f"virsh -c {A} resume vm1"),
        (at("paused", "paused"), f"virsh -c {A} resume vm1, and destroy the one at the destination"),
        (at("", "gone"), "ask the silent one"),
        (at("", "paused"), "ask the silent one"),
        (at("gone", "gone"), f"virsh -c {A} start vm1"),
    ],
)
def test_somebody_must_act(found: Whereabouts, advice: str) -> None:
    assert advice in found.sentence()
    assert not found.at_one_end


def test_a_silent_source_is_not_taken_for_one_that_let_go() -> None:
    found = at("", "running")
    assert not found.arrived
    assert found.sentence() == f"domain vm1 runs at the destination ({B}), the source does not answer"

"""A migration that will not converge is said to, and what would end it."""

from __future__ import annotations

from pagethrift.live.convergence import LEAST_ROUNDS, Convergence


def watched(*predictions: float | None, limit_s: float = 0.3) -> Convergence:
    convergence = Convergence()
    for round_, predicted_s in enumerate(predictions, 1):
        convergence.look(round_, predicted_s, limit_s)
    return convergence


def test_a_guest_that_writes_as_fast_for_ever() -> None:
    assert watched(*[2.0] * (LEAST_ROUNDS - 1)).warning == ""
    warning = watched(*[2.0] * LEAST_ROUNDS).warning
    assert "this does not converge: after 8 rounds a switchover would still take 2.0 s at best" in warning
    assert "--downtime-limit 2400ms" in warning
    assert "throttled to about 15 % of its speed" in warning


def test_one_that_gets_better_or_fits_may_go_on() -> None:
    assert watched(*[3.0 * 0.9**n for n in range(20)]).warning == ""
    assert watched(*[2.0] * 5, 0.2, *[2.0] * 10).warning == "", "it has fitted once: it may again"
    assert watched(*[None] * 20).warning == ""


def test_it_is_taken_back_when_the_guest_calms_down() -> None:
    convergence = watched(*[2.0] * 10)
    assert convergence.warning
    convergence.look(11, 0.1, 0.3)
    assert convergence.warning == ""

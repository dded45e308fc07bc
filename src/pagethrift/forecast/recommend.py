"""Which mode to choose, with the reason in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from pagethrift.model.forecast import Converges, Interval, ModeForecast, Recommendation
from pagethrift.units import format_seconds

AS_FAST = 1.05
"""modes whose total time is so close to the shortest count as equal, and the simplest of them is chosen"""
SAME = 1.01
"""differences below a hundredth are not worth a word"""
LIFTED = "max-bandwidth"
"""a feature that makes a mode no less simple"""
NEAR = 1.5
"""of the downtime limit: what a mode may need when no mode is sure to keep it"""


def recommend(modes: Sequence[ModeForecast], limit_s: float, needed_s: float | None = None) -> Recommendation:
    """Return the mode to choose; without a name where none can be recommended.

    ``needed_s``: a downtime limit with which the default strategy would converge, where none does.
    """
    sure = [each for each in modes if each.converges is Converges.YES and not each.caution]
    keeping = [each for each in sure if each.downtime_s and each.downtime_s.high <= limit_s]
    near = [each for each in sure if each.downtime_s and each.downtime_s.median <= NEAR * limit_s]
    usable = keeping or near
    if not usable:
        return Recommendation("", _why_none(modes, limit_s, needed_s))
    chosen = _simplest(usable)
    least_s = min(map(_total_s, usable))
    if len(usable) == 1:
        place = "the only mode"
    else:
        alike = _total_s(chosen) <= SAME * least_s
        place = "the shortest" if alike else f"the simplest within {AS_FAST - 1:.0%} of the shortest"
        place += f" of {len(usable)} modes"
    keep = "keep" if keeping else "come near"
    others = sorted((each for each in modes if each.total_time_s and not each.caution), key=_total_s)
    next_best = next((each for each in others if each.plain != chosen.plain), None)
    against = f" ({next_best.name}: {_fate(next_best)})" if next_best else ""
    reason = (
        f"{chosen.name} takes {_words(chosen.total_time_s)}, {place} sure to converge and {keep}"
        f" {format_seconds(limit_s)} of downtime{against}."
    )
    return Recommendation(chosen.name, reason, chosen.options)


def _simplest(usable: Sequence[ModeForecast]) -> ModeForecast:
    """Return one of the shortest modes: plain QEMU before a relay, an earlier row before a later."""
    least_s = min(map(_total_s, usable))
    short = [each for each in usable if _total_s(each) <= AS_FAST * least_s]
    return min(short, key=lambda each: not each.plain or bool(each.features.keys() - {LIFTED}))


def _total_s(mode: ModeForecast) -> float:
    return mode.total_time_s.median if mode.total_time_s else float("inf")


def _fate(mode: ModeForecast) -> str:
    total = format_seconds(_total_s(mode))
    downtime = format_seconds(mode.downtime_s.median) if mode.downtime_s else "unknown"
    return f"{total}, downtime {downtime}"


def _words(found: Interval | None) -> str:
    if found is None:
        return "an unknown time"
    return f"{format_seconds(found.median)} ({format_seconds(found.low)} to {format_seconds(found.high)})"


def _why_none(modes: Sequence[ModeForecast], limit_s: float, needed_s: float | None) -> str:
    help_ = [f"allow {format_seconds(needed_s)} of downtime"] if needed_s is not None else []
    help_.append("wait until the guest writes less, or force the switchover with --force-after")
    cautious = [each.name for each in modes if each.caution and each.converges is not Converges.NO]
    if cautious:
        help_.append(f"{' or '.join(cautious)} may end it, at the guest's cost")
    perhaps = [each.name for each in modes if each.converges is Converges.PERHAPS and not each.caution]
    unsure = f" (perhaps {', '.join(perhaps[:2])})" if perhaps else ""
    return (
        f"No mode is sure to converge and come near {format_seconds(limit_s)} of downtime{unsure}:"
        f" {'; '.join(help_)}."
    )

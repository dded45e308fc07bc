"""All scenarios at a glance: pagethrift against QEMU's best mode, and its total time against each mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pagethrift.model.result import Mode
from pagethrift.report.against import OWN, Comparison, against, comparisons, ratio_in_words
from pagethrift.report.measures import MEASURES
from pagethrift.report.runs import Run
from pagethrift.report.summary import by_mode

SHOWN = {
    "total_time_s": "TT",
    "transferred_bytes": "on the link",
    "blackout_s": "blackout",
    "operations_per_s_during": "throughput during",
}
_TIME = next(measure for measure in MEASURES if measure.key == "total_time_s")


@dataclass(frozen=True, slots=True)
class Overview:
    """A table of text cells."""

    title: str
    note: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def overviews(scenarios: Mapping[str, Sequence[Run]]) -> list[Overview]:
    """Return both tables, without scenarios in which pagethrift or QEMU's own modes did not run."""
    found = {name: of for name, runs in scenarios.items() if (of := comparisons(runs).get(OWN))}
    if not found:
        return []
    return [
        Overview(
            f"{OWN} against the best of QEMU's own modes",
            f"{OWN} / QEMU, with the mode of QEMU that is best in that measure: below 1 is less time,"
            " fewer bytes, a shorter gap; of throughput above 1 is more.",
            ("scenario", *SHOWN.values()),
            tuple((name, *(_cell(of, key) for key in SHOWN)) for name, of in found.items()),
        ),
        _against_each({name: scenarios[name] for name in found}),
    ]


def _cell(found: Sequence[Comparison], key: str) -> str:
    one = next((one for one in found if one.measure.key == key), None)
    if one is None:
        return "-"
    return f"{one.ratio_in_words} of {one.best}{' (forced)' if one.best_forced else ''}: {one.verdict.word}"


def _against_each(scenarios: Mapping[str, Sequence[Run]]) -> Overview:
    modes = list(
        dict.fromkeys(
            mode
            for runs in scenarios.values()
            for mode, group in by_mode(runs).items()
            if group[0].migration.mode is Mode.PLAIN
        )
    )
    rows = []
    for name, runs in scenarios.items():
        ratios = against(_TIME, runs)
        rows.append((name, *(ratio_in_words(ratios.get(mode)) for mode in modes)))
    return Overview(
        f"TT of {OWN} / TT of each of QEMU's own modes",
        "Below 1: less time. A mode that did not converge was forced at its time.",
        ("scenario", *modes),
        tuple(rows),
    )

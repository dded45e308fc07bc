"""How much of what a strategy sends is settled by what is in the pages, counted in live runs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from pagethrift.model.result import MigrationResult
from pagethrift.model.run_result import RunResult
from pagethrift.results.find import find
from pagethrift.stream.encoding.full import FULL_BYTES
from pagethrift.stream.encoding.zero import ZERO_BYTES


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of one migration, 0 to 1."""

    settled: float
    """of the bytes of the non-zero pages that were to go: content decides the size of their record (skipped,
    only changed subpages, mostly zero, compressed)"""
    hashed: float
    """of the same bytes: the destination held that very page, and a hash said so"""
    never_sent: float
    """of the same bytes: never went on the link"""
    on_link: float
    """of the RAM bytes on the link: in records whose size depends on content"""


@dataclass(frozen=True, slots=True)
class ContentRow:
    """Medians over the timed live runs of one guest and link."""

    scenario: str
    bandwidth_bps: float
    channels: int
    runs: int
    shares: Shares


def shares(migration: MigrationResult) -> Shares:
    """Return a migration's shares, from its page counters and RAM bytes."""
    pages = migration.pages
    whole = (pages.full + pages.delta + pages.skipped + pages.compressed) * FULL_BYTES
    zeros = pages.zero * ZERO_BYTES
    sent = migration.first_round_bytes + migration.retransferred_bytes
    full = pages.full * FULL_BYTES
    return Shares(
        settled=1 - full / whole,
        hashed=pages.skipped * FULL_BYTES / whole,
        never_sent=1 - (sent - zeros) / whole,
        on_link=1 - (full + zeros) / sent,
    )


def content_rows(archives: Iterable[Path], mode: str) -> list[ContentRow]:
    """Return the rows of a mode; runs with RAM compared are no timed runs. Raises UsageError."""
    groups: dict[tuple[str, float, int], list[Shares]] = {}
    for result in (found.result for found in find(archives)):
        if isinstance(result, RunResult) and result.ram is None and result.mode == mode:
            migration = result.migration
            if migration.bandwidth_bps:
                key = (result.scenario, migration.bandwidth_bps, migration.channels)
                groups.setdefault(key, []).append(shares(migration))
    return [ContentRow(*key, len(each), _medians(each)) for key, each in sorted(groups.items(), key=_order)]


def _order(group: tuple[tuple[str, float, int], list[Shares]]) -> tuple[int, float, str]:
    scenario, bandwidth_bps, channels = group[0]
    return channels, bandwidth_bps, scenario


def _medians(runs: list[Shares]) -> Shares:
    return Shares(
        **{f.name: statistics.median(getattr(each, f.name) for each in runs) for f in fields(Shares)}
    )

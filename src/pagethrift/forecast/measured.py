"""How far simulations were from live migrations, and what a relay costs: measured, by family of modes.

``measured.json`` is written by ``python -m scripts.studies.forecast_table``, which says from which results.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from pagethrift.model.pages import F64

LEAST_DOWNTIME_S = 0.01
"""live guests resume no faster"""


class Family(StrEnum):
    """Modes that the simulator is wrong about in the same way."""

    CHANNELS = "channels"
    """the default strategy over compressed channels"""
    THIN = "thin"
    """the default strategy with plain pages"""
    RELAY = "relay"
    """other strategies, as the relay runs them"""
    PLAIN = "plain"
    XBZRLE = "xbzrle"
    AUTO_CONVERGE = "auto-converge"
    POST_COPY = "post-copy"


@dataclass(frozen=True, slots=True)
class Errors:
    """Quantiles of a family, at 5, 15, ... 95 %."""

    start_s: float
    """of the total time, before and after all that is simulated"""
    total_time: F64
    """(live - start) / simulated"""
    data: F64
    """live / simulated, RAM data sent for the first time and again"""
    downtime_s: F64
    """live - simulated"""
    groups: int
    """compared"""
    agreed: int
    """groups where most live runs and the simulation agreed about converging"""


@dataclass(frozen=True, slots=True)
class RelayCost:
    """What a relay takes of its host, and how far runs were from that."""

    start_s: float
    page_s: float
    """CPU seconds for a page that is not zero"""
    compressed_page_s: float
    cpu_error: F64
    """quantiles of measured / fitted"""
    start_bytes: float
    used_page_bytes: float
    """memory for a page of the guest that is not zero"""
    channel_bytes: float
    """memory for a compressed channel"""
    memory_error: F64

    def cpu_s(self, pages: float, compressed_pages: float) -> float:
        """Return CPU seconds; ``pages``: those that are neither zero nor compressed."""
        return self.start_s + pages * self.page_s + compressed_pages * self.compressed_page_s

    def peak_rss_bytes(self, used_pages: float, channels: int) -> float:
        """Return the peak memory."""
        return self.start_bytes + used_pages * self.used_page_bytes + channels * self.channel_bytes


@cache
def errors(family: Family) -> Errors:
    """Return how far simulations of a family were from live migrations."""
    row = _table()["simulator"][family]
    return Errors(
        row["start_s"], np.array(row["total_time"]), np.array(row["data"]), np.array(row["downtime_s"]),
        row["groups"], row["agreed"],
    )  # fmt: skip


@cache
def relay_cost() -> RelayCost:
    """Return what a relay takes of its host."""
    cpu, memory = _table()["relay"]["cpu_s"], _table()["relay"]["peak_rss_bytes"]
    return RelayCost(
        cpu["start"], cpu["page"], cpu["compressed_page"], np.array(cpu["error"]),
        memory["start"], memory["used_page"], memory["channel"], np.array(memory["error"]),
    )  # fmt: skip


@cache
def _table() -> Any:
    return json.loads(files("pagethrift.forecast").joinpath("measured.json").read_text())

"""The methods by which a page can travel, and which of them a strategy allows."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, IntFlag


class Method(IntEnum):
    """How one page travels: what the writer emits for it."""

    SKIP = 0
    """nothing: the destination holds this content"""
    ZERO = 1
    """a ZERO record: the page is all zero"""
    FULL = 2
    """a PAGE record"""
    DELTA = 3
    """an XBZRLE record with the changed subpages"""
    SPARSE = 4
    """a ZERO record, then an XBZRLE record against zero"""
    FROM_ZERO = 5
    """an XBZRLE record against a page the destination holds as zero"""
    HOLD = 6
    """nothing for now: the page waits in the hold buffer"""
    CHANNEL = 7
    """nothing on main: the page travels compressed over the multifd channel that it is pinned to"""
    SOURCE_DELTA = 8
    """the source's own XBZRLE record, as it came"""


COUNTED_AS: Mapping[Method, str] = {
    Method.SKIP: "skipped",
    Method.ZERO: "zero",
    Method.FULL: "full",
    Method.DELTA: "delta",
    Method.SPARSE: "delta",
    Method.FROM_ZERO: "delta",
    Method.CHANNEL: "compressed",
    Method.SOURCE_DELTA: "delta",
}
"""method -> the field of PageCounters (model/result.py) that counts it; a held page is not counted"""


class Allow(IntFlag):
    """The methods that a strategy permits; a full page is always permitted."""

    NOTHING = 0
    SKIP = 1
    """skip a page the destination holds"""
    DELTA = 2
    """send only changed subpages"""
    SPARSE = 4
    """send a mostly-zero page as ZERO and a delta, an all-zero page as ZERO"""
    CHANNEL = 8
    """send a page compressed, where the destination takes compressed channels"""

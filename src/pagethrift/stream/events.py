"""What comes out of the reader."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from pagethrift.model.pages import BlockTable, PageBatch


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes that belong in the output unmodified, in this place."""

    data: memoryview
    """valid until the reader is given room for more bytes"""


@dataclass(frozen=True, slots=True)
class RamBegins:
    """The list of RAM blocks is complete."""

    table: BlockTable


@dataclass(frozen=True, slots=True)
class Pages:
    """Page records of one section body; no page stands twice in a batch."""

    batch: PageBatch


@dataclass(frozen=True, slots=True)
class BodyEnds:
    """The records of one RAM section are over; its end mark follows as Raw."""

    last: bool
    """True in the END section: what is owed to the destination must be written now"""


@dataclass(frozen=True, slots=True)
class RamEnds:
    """RAM's last section is complete; every later byte comes as Raw."""


class Signal(Enum):
    """Events without content."""

    NEED_DATA = "need data"
    """nothing more until bytes are received"""
    END = "end"
    """the stream ended where it may"""


Event: TypeAlias = Raw | RamBegins | Pages | BodyEnds | RamEnds | Signal

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
    """The list of RAM blocks is complete; the body of RAM's START section is open."""

    table: BlockTable
    section_id: int
    """the id in every section of RAM"""


@dataclass(frozen=True, slots=True)
class BodyBegins:
    """The head of a PART or END section of RAM was handed out as Raw; its records follow."""

    last: bool
    """True in the END section"""


@dataclass(frozen=True, slots=True)
class Pages:
    """Page records of one section body; no page stands twice in a batch."""

    batch: PageBatch


@dataclass(frozen=True, slots=True)
class BodyEnds:
    """The records of one RAM section are over; its end mark follows as Raw."""

    last: bool
    """True in the END section: held pages must be written now"""


@dataclass(frozen=True, slots=True)
class RamEnds:
    """RAM's last section is complete; every later byte comes as Raw."""


class Signal(Enum):
    """Events without content."""

    NEED_DATA = "need data"
    """nothing more until bytes are received"""
    FLUSH = "flush"
    """MULTIFD_FLUSH, among the records of RAM; its eight bytes follow as Raw"""
    SECTION_ENDS = "section ends"
    """the whole of a section or command before the end of RAM has been handed out"""
    END = "end"
    """the stream ended at a place where it may end"""


Event: TypeAlias = Raw | RamBegins | BodyBegins | Pages | BodyEnds | RamEnds | Signal

"""Errors as data, and back: what a relay's process sends to its driver instead of an exception."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pagethrift.errors import (
    CancelledElsewhere,
    GuestError,
    LabError,
    LinkError,
    PagethriftError,
    QmpError,
    SourceEnded,
    StreamError,
    UsageError,
    VirtError,
)

KINDS: Mapping[str, type[PagethriftError]] = {
    "error": PagethriftError,
    "usage": UsageError,
    "stream": StreamError,
    "link": LinkError,
    "qmp": QmpError,
    "lab": LabError,
    "guest": GuestError,
    "cancelled": CancelledElsewhere,
    "source-ended": SourceEnded,
    "libvirt": VirtError,
}
"""name in the protocol -> class; any other class is sent as its nearest base class in this table"""
_NAMES = {kind: name for name, kind in KINDS.items()}


@dataclass(frozen=True, slots=True)
class ErrorData:
    """One error of any kind."""

    kind: str
    """a key of KINDS, perhaps of a newer pagethrift"""
    message: str
    offset: int | None = None
    """this field and the next two: only for "stream\""""
    expected: str = ""
    got: str = ""


def to_data(error: BaseException) -> ErrorData:
    """Return the data for `from_data`; an exception that is not ours becomes kind "error"."""
    if not isinstance(error, PagethriftError):
        error = unexpected(error)
    kind = next(_NAMES[each] for each in type(error).__mro__ if each in _NAMES)
    if isinstance(error, StreamError):
        return ErrorData(kind, str(error), error.offset, error.expected, error.got)
    return ErrorData(kind, str(error))


def from_data(data: ErrorData) -> PagethriftError:
    """Return the error; an unknown kind gives a PagethriftError with the same message."""
    kind = KINDS.get(data.kind, PagethriftError)
    if not issubclass(kind, StreamError):
        return kind(data.message)
    if data.offset is None:
        return PagethriftError(data.message)
    error = kind(data.offset, data.expected, data.got)
    error.args = (data.message,)
    return error


def unexpected(error: BaseException) -> PagethriftError:
    """Return an exception as an error of ours; one that nobody foresaw says so."""
    if isinstance(error, PagethriftError):
        return error
    if isinstance(error, MemoryError):
        return PagethriftError("out of memory")
    said = " ".join(str(error).split())
    return PagethriftError(f"{type(error).__name__}: {said} (a fault of pagethrift, please report it)")

"""The error tree as its docstring draws it, and messages of one line."""

from __future__ import annotations

import pytest

from pagethrift import errors
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
from pagethrift.stream.input import NotUnderstood

CLASSES: list[type[PagethriftError]] = [
    UsageError, StreamError, LinkError, QmpError, LabError, GuestError, CancelledElsewhere, SourceEnded,
    VirtError,
]  # fmt: skip


def test_every_error_stands_in_the_tree() -> None:
    found = {c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, PagethriftError)}
    assert found == {PagethriftError, *CLASSES}
    assert errors.__doc__ is not None
    for each in found:
        assert each.__name__ in errors.__doc__


def test_exit_codes_tell_the_errors_apart() -> None:
    codes = [each.exit_code for each in CLASSES]
    assert codes == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert PagethriftError.exit_code == 1


def test_a_stream_error_says_where_what_and_what_instead() -> None:
    error = StreamError(4096, "a footer", "0x00")
    assert str(error) == "stream byte 4096: expected a footer, got 0x00"
    assert (error.offset, error.expected, error.got) == (4096, "a footer", "0x00")


def test_not_understood_is_a_stream_error() -> None:
    with pytest.raises(StreamError, match="stream byte 7: expected x, got y"):
        raise NotUnderstood(7, "x", "y")
    assert NotUnderstood.exit_code == StreamError.exit_code


def test_an_error_is_one_short_line_whatever_words_came_into_it() -> None:
    said = str(UsageError("a\nb\t\x1b[31m" + "x" * 100_000 + " do this"))
    assert said.startswith("a b \N{REPLACEMENT CHARACTER}[31mxxx")
    assert said.endswith("x do this")
    assert len(said) < 300
    assert str(UsageError("as it is")) == "as it is"
    assert len(str(LinkError("x" * 100_000))) == PagethriftError.longest

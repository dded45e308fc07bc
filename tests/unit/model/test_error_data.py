"""Errors survive the trip from the relay's process to the driver."""

from __future__ import annotations

import pytest

from pagethrift import errors
from pagethrift.errors import LinkError, PagethriftError, StreamError, UsageError
from pagethrift.model.error_data import KINDS, ErrorData, from_data, to_data
from pagethrift.stream.input import NotUnderstood

CLASSES = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, PagethriftError)]


def test_every_error_has_a_kind() -> None:
    assert sorted(KINDS.values(), key=str) == sorted(CLASSES, key=str)


@pytest.mark.parametrize("kind", CLASSES)
def test_comes_back_as_the_very_same(kind: type[PagethriftError]) -> None:
    error = StreamError(12, "a footer", "0x00") if kind is StreamError else kind("link: down, up it")
    back = from_data(to_data(error))
    assert type(back) is kind
    assert (str(back), back.args, back.exit_code) == (str(error), error.args, error.exit_code)
    if isinstance(back, StreamError):
        assert (back.offset, back.expected, back.got) == (12, "a footer", "0x00")


def test_what_was_added_to_the_line_of_a_stream_error_stays() -> None:
    error = StreamError(7, "x", "y")
    error.args = ("stream byte 7: expected x, got y; the guest runs on",)
    back = from_data(to_data(error))
    assert isinstance(back, StreamError)
    assert (str(back), back.offset) == (str(error), 7)


def test_a_finer_class_travels_as_the_nearest_known_one() -> None:
    class Stalled(LinkError):
        exit_code = 4

    assert type(from_data(to_data(Stalled("stalled")))) is LinkError
    back = from_data(to_data(NotUnderstood(3, "x", "y")))
    assert type(back) is StreamError
    assert back.exit_code == NotUnderstood.exit_code


def test_kinds_of_a_newer_relay_stay_readable() -> None:
    back = from_data(ErrorData("weather", "it rains", offset=3))
    assert (type(back), str(back)) == (PagethriftError, "it rains")
    assert str(from_data(ErrorData("stream", "no offset"))) == "no offset"
    assert type(from_data(ErrorData("usage", "m", offset=3))) is UsageError


def test_an_exception_nobody_foresaw_is_one_line() -> None:
    data = to_data(MemoryError("no\nroom"))
    assert data == ErrorData("error", "out of memory")

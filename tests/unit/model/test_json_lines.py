"""The rules of reading: a field by its annotation, and nothing that is not one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pagethrift.model.json_lines import COUNT_MAX, TEXT_MAX, NotAMessage, known_fields, line_of, object_in
from pagethrift.model.result import PageCounters

NO_PAGES = PageCounters()


@dataclass
class Sample:
    count: int = 0
    share: float = 0.0
    known: float | None = None
    on: bool = False
    name: str = ""
    pages: PageCounters = NO_PAGES
    other: tuple[int, ...] = ()


def test_a_field_is_read_by_its_annotation() -> None:
    data = {
        "count": 3,
        "share": 2,
        "known": None,
        "on": True,
        "name": "x" * 600,
        "pages": {"full": 1, "odd": 2},
    }
    assert known_fields(Sample, {**data, "other": [1], "unknown": 5}) == {
        **data,
        "share": 2.0,
        "name": "x" * TEXT_MAX,
        "pages": PageCounters(full=1),
    }


@pytest.mark.parametrize(
    "data",
    [
        {"count": 1.0},
        {"count": True},
        {"count": -1},
        {"count": COUNT_MAX + 1},
        {"share": "1"},
        {"share": -0.1},
        {"share": None},
        {"known": "no"},
        {"on": 1},
        {"on": None},
        {"name": None},
        {"pages": []},
        {"pages": {"full": -1}},
    ],
)
def test_what_does_not_fit_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(NotAMessage):
        known_fields(Sample, data)


def test_long_texts_are_cut_at_any_depth() -> None:
    line = line_of({"a": {"b": "y" * 2000}})
    assert object_in(line) == {"a": {"b": "y" * TEXT_MAX}}

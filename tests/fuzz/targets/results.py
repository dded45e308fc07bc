"""Result files in JSON: a result that is written as it was read, none, or one UsageError."""

from __future__ import annotations

from collections.abc import Iterator

from pagethrift.errors import UsageError
from pagethrift.results.find import find
from pagethrift.results.result import Result, from_json
from tests.fuzz.target import Target, check_line, file_of
from tests.unit.report.samples import migration, result


def fuzz_one(data: bytes) -> None:
    with file_of(data, "result.json") as path:
        try:
            found = [each.result for each in find([path])]
        except UsageError as error:
            check_line(error)
            return
    for one in found:
        if one is not None:
            _comes_back(one)


def _comes_back(one: Result) -> None:
    again = from_json(one.to_data(), "again")
    assert again is not None
    assert again.to_json() == one.to_json()


def seeds() -> Iterator[bytes]:
    for one in (migration(), migration("pagethrift"), result(), result("thesis")):
        yield one.to_json().encode()
    yield b"[" * 3000
    yield b'{"schema": []}'
    yield b'{"schema": "pagethrift-run", "version": 1, "migration": 3}'
    yield b"\xff"


TARGET = Target(fuzz_one, seeds, most_bytes=6000)

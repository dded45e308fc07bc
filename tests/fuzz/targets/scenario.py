"""Scenarios and matrices in TOML: what can be run, or one UsageError."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pagethrift.errors import UsageError
from pagethrift.lab.matrix import read_compared
from tests.fuzz.target import Target, check_line, file_of

ROOT = Path(__file__).resolve().parents[3]


def fuzz_one(data: bytes) -> None:
    if b"/" in data.partition(b"scenarios")[2]:
        return  # of files elsewhere
    with file_of(data, "scenario.toml") as path:
        try:
            found = read_compared(path)
        except UsageError as error:
            check_line(error)
            return
    for one in found:
        assert one.name
        assert "/" not in one.name
        assert one.repetitions >= 1
        assert one.modes
        assert len(one.digest) == 16


def seeds() -> Iterator[bytes]:
    for path in sorted((ROOT / "scenarios").glob("*.toml")):
        yield path.read_bytes()
    yield b'modes = [1]\nscenarios = ["scenario.toml"]\n'


TARGET = Target(fuzz_one, seeds, most_bytes=4500)

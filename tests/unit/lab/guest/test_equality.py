"""RAM of both guests is compared byte by byte, whatever the dumps hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from pagethrift.lab.guest import equality
from pagethrift.lab.guest.equality import HOLE, compare_ram
from pagethrift.lab.guest.monitor import Monitor
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.model.run_result import RamEquality

MEMORY_BYTES = 4 << 20
PAGES = MEMORY_BYTES // PAGE_BYTES


class Guest:
    """A monitor whose guest has this RAM."""

    def __init__(self, ram: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        self.ram = ram

    def execute(self, command: str, arguments: dict[str, Any], timeout_s: float) -> None:
        assert (command, arguments["val"]) == ("pmemsave", 0)
        Path(arguments["filename"]).write_bytes(self.ram[: arguments["size"]].tobytes())


def compared(changed_bytes: list[int]) -> RamEquality:
    source = np.random.default_rng(1).integers(0, 256, MEMORY_BYTES, np.uint8)
    destination = source.copy()
    destination[changed_bytes] ^= 1
    return compare_ram(cast(Monitor, Guest(source)), cast(Monitor, Guest(destination)), MEMORY_BYTES)


def test_equal_ram_is_equal_up_to_the_hole() -> None:
    found = compared([HOLE.start * PAGE_BYTES, HOLE.stop * PAGE_BYTES - 1])
    assert (found.differing_pages, found.first_differences) == (0, ())
    assert found.compared_bytes == MEMORY_BYTES - len(HOLE) * PAGE_BYTES


def test_one_byte_makes_a_page_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equality, "_PIECE_PAGES", 100)  # pages of later pieces keep their addresses
    last = PAGES - 1
    found = compared([5, 6, 200 * PAGE_BYTES * 2, last * PAGE_BYTES + 4095])
    assert found.differing_pages == 3
    assert found.first_differences == (0, 400 * PAGE_BYTES, last * PAGE_BYTES)


def test_of_many_pages_the_first_ten_are_named() -> None:
    found = compared([page * PAGE_BYTES for page in range(300, 400)])
    assert found.differing_pages == 100
    assert found.first_differences == tuple(page * PAGE_BYTES for page in range(300, 310))

"""Page classes out of a guest's /proc/kpageflags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pagethrift.errors import UsageError
from pagethrift.model.facts import PageClass
from pagethrift.model.pages import BlockTable
from pagethrift.trace.page_classes import classify, read_page_classes

FREE, CACHE, ANONYMOUS, SLAB = 1 << 10, 1 << 5 | 1 << 3, 1 << 12 | 1 << 5 | 1 << 11, 1 << 7


def test_classes() -> None:
    found = classify(np.array([0, FREE, CACHE, ANONYMOUS, SLAB, 1 << 26], np.uint64))
    assert found.tolist() == [
        PageClass.OTHER, PageClass.FREE, PageClass.CACHE, PageClass.ANONYMOUS, PageClass.KERNEL,
        PageClass.KERNEL,
    ]  # fmt: skip


def test_frames_map_to_the_ram_block(tmp_path: Path) -> None:
    path = tmp_path / "kpageflags"
    path.write_bytes(np.array([SLAB, FREE, ANONYMOUS], np.uint64).tobytes())
    table = BlockTable.of([(b"pc.bios", 2 * 4096), (b"pc.ram", 4 * 4096)])
    assert read_page_classes(path, table).tolist() == [
        0, 0, PageClass.KERNEL, PageClass.FREE, PageClass.ANONYMOUS, 0,
    ]  # fmt: skip


def test_frames_above_four_gib_follow_low_memory(tmp_path: Path) -> None:
    flags = np.zeros((1 << 20) + 2, np.uint64)
    flags[0] = FREE
    flags[1 << 20 :] = [ANONYMOUS, SLAB]
    path = tmp_path / "kpageflags"
    path.write_bytes(flags.tobytes())
    classes = read_page_classes(path, BlockTable.of([(b"pc.ram", 10 * 4096)]))
    assert classes.tolist() == [PageClass.FREE, *[0] * 7, PageClass.ANONYMOUS, PageClass.KERNEL]


def test_refusals(tmp_path: Path) -> None:
    table = BlockTable.of([(b"other", 4096)])
    with pytest.raises(UsageError, match="absent"):
        read_page_classes(tmp_path / "absent", table)
    (tmp_path / "odd").write_bytes(b"123")
    with pytest.raises(UsageError, match="odd"):
        read_page_classes(tmp_path / "odd", table)
    (tmp_path / "good").write_bytes(bytes(8))
    with pytest.raises(UsageError, match=r"pc\.ram"):
        read_page_classes(tmp_path / "good", table)

"""Page classes out of a guest's /proc/kpageflags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pagethrift.errors import UsageError
from pagethrift.model.facts import PageClass
from pagethrift.model.pages import BlockTable
from pagethrift.trace.page_classes import classify, read_page_classes

LRU, SLAB, MMAP, PGTABLE, RESERVED = 1 << 5, 1 << 7, 1 << 11, 1 << 26, 1 << 32
FREE, CACHE, ANONYMOUS = 1 << 10, LRU | 1 << 3, 1 << 12 | LRU | MMAP
HEAD, TAIL, NOPAGE = 1 << 15, 1 << 16, 1 << 20
DIRTY, WRITEBACK, SWAPBACKED, UNEVICTABLE = 1 << 4, 1 << 8, 1 << 14, 1 << 18
SECTION = (128 << 20) // 4096
GIB = (1 << 30) // 4096


def dump(folder: Path, flags: npt.NDArray[np.uint64]) -> Path:
    path = folder / "kpageflags"
    path.write_bytes(flags.tobytes())
    return path


def ram(pages: int) -> BlockTable:
    return BlockTable.of([(b"pc.ram", pages * 4096)])


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (0, PageClass.OTHER),
        (NOPAGE, PageClass.OTHER),
        (FREE, PageClass.FREE),
        (CACHE, PageClass.CACHE),
        (ANONYMOUS, PageClass.ANONYMOUS),
        (ANONYMOUS | DIRTY | SWAPBACKED, PageClass.ANONYMOUS),
        (SLAB, PageClass.KERNEL),
        (PGTABLE, PageClass.KERNEL),
        (RESERVED, PageClass.KERNEL),
        *((CACHE | kept, PageClass.OTHER) for kept in (DIRTY, WRITEBACK, MMAP, SWAPBACKED, UNEVICTABLE)),
    ],
)
def test_classes(flags: int, expected: PageClass) -> None:
    """Of the page cache only what drop_caches would drop: not tmpfs, nor what is dirty or mapped."""
    assert classify(np.array([flags], np.uint64)).tolist() == [expected]


def test_a_compound_page_is_what_its_head_is() -> None:
    tail = TAIL | MMAP
    flags = [TAIL, ANONYMOUS | HEAD, tail, tail, CACHE | HEAD, TAIL, FREE, CACHE | SWAPBACKED | HEAD, TAIL]
    assert classify(np.array(flags, np.uint64)).tolist() == [
        PageClass.OTHER, *[PageClass.ANONYMOUS] * 3, *[PageClass.CACHE] * 2, PageClass.FREE,
        *[PageClass.OTHER] * 2,
    ]  # fmt: skip


@pytest.mark.parametrize("frames", [SECTION, SECTION - 40])
def test_frames_map_to_the_ram_block(tmp_path: Path, frames: int) -> None:
    flags = np.zeros(frames, np.uint64)
    flags[:3] = [SLAB, FREE, ANONYMOUS]
    flags[-1] = FREE
    table = BlockTable.of([(b"pc.bios", 2 * 4096), (b"pc.ram", SECTION * 4096)])
    classes = read_page_classes(dump(tmp_path, flags), table)
    assert len(classes) == SECTION + 2
    assert classes[:5].tolist() == [0, 0, PageClass.KERNEL, PageClass.FREE, PageClass.ANONYMOUS]
    assert np.flatnonzero(classes).tolist() == [2, 3, 4, 1 + frames]


@pytest.mark.parametrize("low", [2 * GIB, 3 * GIB])
@pytest.mark.parametrize("frames", [GIB + 10, GIB + SECTION])
def test_frames_above_four_gib_follow_low_memory(tmp_path: Path, low: int, frames: int) -> None:
    """q35 leaves 2 GiB below the hole, pc 3 GiB; the end is rounded up to a section or not."""
    flags = np.zeros(4 * GIB + frames, np.uint64)
    flags[[0, low - 1]] = FREE
    flags[low : 4 * GIB] = RESERVED
    flags[4 * GIB : 4 * GIB + 2] = [ANONYMOUS, SLAB]
    flags[4 * GIB + GIB + 9] = ANONYMOUS
    classes = read_page_classes(dump(tmp_path, flags), ram(low + GIB + 10))
    assert np.flatnonzero(classes).tolist() == [0, low - 1, low, low + 1, low + GIB + 9]
    assert classes[[low - 1, low, low + 1, -1]].tolist() == [
        PageClass.FREE, PageClass.ANONYMOUS, PageClass.KERNEL, PageClass.ANONYMOUS,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("frames", "pages"),
    [
        (0, SECTION),
        (SECTION // 2, SECTION),
        (2 * SECTION, SECTION),
        (4 * GIB, 4 * GIB),
        (5 * GIB, 6 * GIB),
        (7 * GIB, 4 * GIB),
    ],
)
def test_frames_of_another_machine_are_refused(tmp_path: Path, frames: int, pages: int) -> None:
    """Cut off, of another guest, or with memory where pc and q35 have none."""
    path = tmp_path / "kpageflags"
    with path.open("wb") as file:
        file.truncate(8 * frames)
    with pytest.raises(UsageError, match=rf"{frames} frames .* {pages} pages"):
        read_page_classes(path, ram(pages))


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent"):
        read_page_classes(tmp_path / "absent", ram(SECTION))
    (tmp_path / "odd").write_bytes(b"123")
    with pytest.raises(UsageError, match="odd"):
        read_page_classes(tmp_path / "odd", ram(SECTION))
    with pytest.raises(UsageError, match=r"no RAM block pc\.ram"):
        read_page_classes(tmp_path / "odd", BlockTable.of([(b"other", 4096)]))

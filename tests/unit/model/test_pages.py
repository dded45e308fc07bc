"""Blocks, their numbering, and batches."""

from __future__ import annotations

import numpy as np

from pagethrift.model.pages import Block, BlockTable, PageBatch

ROWS = [(b"pc.ram", 8 * 4096), (b"odd", 4097), (b"x" * 255, 4096)]


def test_pages_are_numbered_over_all_blocks() -> None:
    table = BlockTable.of(ROWS)
    assert table.first_pages.tolist() == [0, 8, 10, 11]
    assert table.total_pages == 11
    assert [table.names[i, : table.name_lengths[i]].tobytes() for i in range(3)] == [name for name, _ in ROWS]
    assert table.blocks[1] == Block(b"odd", 4097, 8)
    assert table.blocks[1].pages == 2


def test_an_empty_table() -> None:
    table = BlockTable.of([])
    assert table.total_pages == 0
    assert len(table.name_lengths) == 0


def test_part_of_a_batch_shares_the_arrays() -> None:
    n = np.arange(5)
    batch = PageBatch(n, n.astype(np.uint8), n * 10, n.astype(np.int32), np.zeros(9, np.uint8))
    part = batch.part(1, 3)
    assert len(batch) == 5
    assert len(part) == 2
    assert part.page.tolist() == [1, 2]
    assert part.position.tolist() == [10, 20]
    assert np.shares_memory(part.page, batch.page)
    assert part.buffer is batch.buffer

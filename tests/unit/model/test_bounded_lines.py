"""Whole lines out of pieces, and never more than one line kept."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from pagethrift.model.bounded_lines import BoundedLines

MOST = 8


@given(
    lines=st.lists(st.binary(max_size=3 * MOST).map(lambda line: line.replace(b"\n", b"-")), max_size=12),
    cuts=st.lists(st.integers(1, 20), min_size=1, max_size=20),
)
def test_the_same_lines_whatever_the_pieces(lines: list[bytes], cuts: list[int]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    reader, seen, at = BoundedLines(MOST), [], 0
    while at < len(data):
        for cut in cuts:
            seen += reader.feed(data[at : at + cut])
            at += cut
    assert seen == [line[: MOST + 1] for line in lines]


def test_a_line_without_end_comes_out_once_and_the_next_line_is_whole() -> None:
    reader = BoundedLines(MOST)
    assert reader.feed(b"x" * MOST) == []
    assert reader.feed(b"xx") == [b"x" * (MOST + 1)]
    assert reader.feed(b"more" * 100) == []
    assert reader.feed(b"end\nnext\nbe") == [b"next"]
    assert reader.feed(b"gun\n\n") == [b"begun", b""]


def test_a_flood_is_not_kept() -> None:
    reader, piece = BoundedLines(1 << 10), b"x" * (64 << 10)
    tracemalloc.start()
    for _ in range(500):
        reader.feed(piece)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1 << 20

"""A trace file: what goes in comes out, in pieces, with its header, or is refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pagethrift.errors import UsageError
from pagethrift.model.facts import PageClass
from pagethrift.trace.format import COLUMNS, METADATA_KEY, DeltaSource, Sweep, TraceHeader
from pagethrift.trace.read import fingerprint, read_trace
from pagethrift.trace.synthetic import Load, Synthetic, make_trace
from pagethrift.trace.write import Rows, TraceWriter
from tests.traces import made

BLOCKS = (("pc.ram", 40 * 4096), ("pc.bios", 10 * 4096 - 100))


def header() -> TraceHeader:
    return TraceHeader(memory_bytes=50 * 4096 - 100, blocks=BLOCKS, interval_s=0.1, workload="none")


def rows(pages: list[int], content: int, changed: int = 3) -> Rows:
    n = len(pages)
    return Rows(
        np.array(pages, np.int64), np.full(n, content, np.uint32), np.full(n, changed, np.uint16),
        np.full(n, content == 0), np.full(n, 20, np.uint16), np.full(n, 4096, np.uint16),
        np.array([1000] + [0] * (n - 1), np.uint16)[:n],
    )  # fmt: skip


def written(path: Path, sweeps: int = 4) -> Path:
    with TraceWriter(path, header()) as writer:
        writer.write(rows(list(range(50)), 7, 0xFFFF), 0.0, 0.5)
        writer.write(rows([45, 3], 8), 0.5, 0.01)
        for number in range(2, sweeps):
            writer.write(rows([41, 3, 40], 8 + number), 0.5 + 0.1 * (number - 1), 0.01)
        assert not path.exists()
        writer.close(qemu_version="10.0.2")
    return path


def test_rows_come_back_by_block_and_sorted(tmp_path: Path) -> None:
    table = pq.read_table(written(tmp_path / "t.parquet"))
    assert table.schema.remove_metadata() == COLUMNS
    last = table.filter(pc.equal(table["sweep"], 3)).to_pydict()
    assert last["block"] == [0, 1, 1]
    assert last["page"] == [3, 0, 1]
    assert last["content"] == [11, 11, 11]
    assert last["zstd_bytes"] == [None, None, 1000]
    assert last["page_class"] == [None] * 3


def test_classes_are_of_the_beginning_until_a_page_is_written(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    classes = np.full(50, PageClass.FREE, np.uint8)
    classes[40:] = PageClass.ANONYMOUS

    def classed(pages: list[int], content: int) -> Rows:
        return replace(rows(pages, content), page_class=classes[pages])

    with TraceWriter(path, replace(header(), page_classes=True)) as writer:
        writer.write(classed(list(range(50)), 7), 0.0, 0.5)
        writer.write(classed([45, 3], 8), 0.5, 0.01)
        writer.write(classed([5], 9), 0.6, 0.01)
        writer.close()
    found = read_trace(path).page_class
    assert found is not None
    assert np.flatnonzero(found == PageClass.OTHER).tolist() == [3, 45]
    assert np.flatnonzero(found == PageClass.FREE).tolist() == [*range(3), *range(4, 40)]
    assert (found[40:45] == PageClass.ANONYMOUS).all()


def test_a_class_that_is_missing_is_not_known(tmp_path: Path) -> None:
    path = written(tmp_path / "t.parquet")
    assert read_trace(path).page_class is None
    text = replace(read_trace(path).header, page_classes=True).to_metadata()
    pq.write_table(pq.read_table(path).replace_schema_metadata({METADATA_KEY: text}), path)
    found = read_trace(path).page_class
    assert found is not None
    assert (found == PageClass.OTHER).all()


def test_header_and_sweeps_come_back(tmp_path: Path) -> None:
    found = read_trace(written(tmp_path / "t.parquet")).header
    assert (found.blocks, found.workload, found.qemu_version) == (BLOCKS, "none", "10.0.2")
    assert found.delta_source is DeltaSource.EXACT
    assert [sweep.rows for sweep in found.sweeps] == [50, 2, 3, 3]
    assert found.sweeps[1].began_s == 0.5
    assert found.table.total_pages == 50


def test_the_timeline_begins_at_the_second_sweep(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path / "t.parquet"))
    assert trace.pages == 50
    assert trace.content[3] == 8
    assert trace.content[4] == 7
    assert trace.duration_s == pytest.approx(0.2)
    assert sorted(trace.writes.page.tolist()) == [3, 3, 40, 40, 41, 41]
    assert np.all(np.diff(trace.writes.time_s) >= 0)
    first = trace.writes.time_s[trace.writes.content == 10]
    second = trace.writes.time_s[trace.writes.content == 11]
    assert np.all((first > 0) & (first <= 0.1))
    assert np.all((second > 0.1) & (second <= 0.2))
    assert trace.zstd_ratio == pytest.approx(1000 / 4096)


def test_zstd_shares_count_each_content_once_for_quiet_and_written_pages(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"

    def measured(pages: list[int], content: int, zstd: int, changed: int = 3) -> Rows:
        found = rows(pages, content, changed)
        return replace(found, zstd_bytes=np.full(len(pages), zstd, np.uint16))

    with TraceWriter(path, header()) as writer:
        writer.write(measured(list(range(50)), 0, 0, 0xFFFF), 0.0, 0.5)
        writer.write(measured([1, 2, 3], 7, 1000), 0.5, 0.01)
        writer.write(measured([4], 8, 2000, 0), 0.6, 0.01)
        writer.write(measured([40], 9, 3000), 0.7, 0.01)
        writer.close()
    trace = read_trace(path)
    assert trace.quiet_zstd_share == pytest.approx((1000 + 2000) / (2 * 4096))
    assert trace.written_zstd_share == pytest.approx(3000 / 4096)
    trace = read_trace(written(tmp_path / "other.parquet"))
    assert trace.quiet_zstd_share == pytest.approx(1000 / 4096)


def test_a_seed_moves_writes_within_their_window_only(tmp_path: Path) -> None:
    path = written(tmp_path / "t.parquet")
    one, same, other = read_trace(path, 1), read_trace(path, 1), read_trace(path, 2)
    assert np.array_equal(one.writes.time_s, same.writes.time_s)
    assert not np.array_equal(one.writes.time_s, other.writes.time_s)
    assert sorted(one.writes.content) == sorted(other.writes.content)


def test_an_unfinished_trace_is_removed(tmp_path: Path) -> None:
    with TraceWriter(tmp_path / "t.parquet", header()) as writer:
        writer.write(rows([1], 1), 0.0, 0.0)
    assert list(tmp_path.iterdir()) == []


def test_many_rows_go_out_in_groups(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    make_trace(path, Synthetic(Load.UNIFORM, pages=65536, writes_per_s=400_000, seconds=1.6))
    file = pq.ParquetFile(path)
    assert file.metadata.num_row_groups > 2
    assert file.metadata.num_rows == sum(sweep.rows for sweep in read_trace(path).header.sweeps)
    assert path.stat().st_size < 8 * file.metadata.num_rows


@pytest.mark.parametrize(
    ("change", "says"),
    [(b'"version": 1', "version 2"), (b'"blocks": [', "broken"), (b'{"schema"', "broken")],
)
def test_other_headers_are_refused(tmp_path: Path, change: bytes, says: str) -> None:
    text = header().to_metadata()
    swap = {b'"version": 1': b'"version": 2', b'"blocks": [': b'"block5": [', b'{"schema"': b'["schema"'}
    table = pa.table({"sweep": pa.array([], pa.uint32())})
    path = tmp_path / "t.parquet"
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: text.replace(change, swap[change])}), path)
    with pytest.raises(UsageError, match=says):
        read_trace(path)


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    for name in ("text", "other.parquet", "absent"):
        with pytest.raises(UsageError, match=name):
            read_trace(tmp_path / name)
    with pytest.raises(UsageError, match="absent"):
        fingerprint(tmp_path / "absent")
    with pytest.raises(UsageError, match="too few"):
        read_trace(written(tmp_path / "short.parquet", sweeps=2))


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("block", 2, "unknown block"),
        ("page", 40, "outside its block"),
        ("sweep", 4, "unknown sweep"),
        ("content", 1 << 31, "content id"),
        ("page", None, "broken trace"),
        ("page_class", 5, "unknown page class"),
    ],
)
def test_rows_that_contradict_the_header_are_refused(
    tmp_path: Path, column: str, value: int | None, says: str
) -> None:
    """The simulator's kernels check no bounds."""
    path = written(tmp_path / "t.parquet")
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[0] = value
    wrong = pa.array(values, COLUMNS.field(column).type)
    changed = table.set_column(table.schema.get_field_index(column), column, wrong)
    metadata = {METADATA_KEY: read_trace(path).header.to_metadata()}
    pq.write_table(changed.replace_schema_metadata(metadata), path)
    with pytest.raises(UsageError, match=says):
        read_trace(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"blocks": ()}, "impossible RAM"),
        ({"blocks": (("pc.ram", -4096),)}, "impossible RAM"),
        ({"blocks": (("pc.ram", 1 << 50),)}, "impossible RAM"),
        ({"blocks": (("pc.ram", 1 << 40), BLOCKS[1])}, "far more pages"),
        ({"sweeps": (0.0, 0.5, 0.5, 0.7)}, "in time"),
        ({"sweeps": (0.0, 0.5, float("nan"), 0.7)}, "in time"),
        ({"sweeps": (0.0, 0.5, "soon", 0.7)}, "broken trace"),
    ],
)
def test_headers_that_cannot_be_are_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    path = written(tmp_path / "t.parquet")
    if "sweeps" in changes:
        changes = {"sweeps": tuple(Sweep(at, 0.0, 0) for at in changes["sweeps"])}
    text = replace(read_trace(path).header, **changes).to_metadata()
    pq.write_table(pq.read_table(path).replace_schema_metadata({METADATA_KEY: text}), path)
    with pytest.raises(UsageError, match=says):
        read_trace(path)


def test_unknown_header_fields_are_ignored() -> None:
    text = header().to_metadata()[:-1] + b', "colour": "blue"}'
    assert TraceHeader.from_metadata(text, "here") == header()


@pytest.mark.parametrize("load", list(Load))
def test_synthetic_loads_write_at_the_rate_they_say(tmp_path: Path, load: Load) -> None:
    trace = made(tmp_path, load, hot_pages=2048)
    per_s = len(trace.writes) / trace.duration_s
    assert trace.duration_s == pytest.approx(6.0)
    if load is Load.IDLE:
        assert per_s == 0
    elif load in (Load.ROUND_ROBIN, Load.COUNTERS, Load.FLIPPER):
        assert per_s == pytest.approx(1000)
    else:
        assert 500 < per_s < 1000
    if load is Load.FLIPPER:
        for page in (0, 100):
            contents = trace.writes.content[trace.writes.page == page]
            assert len(set(contents.tolist()) | {int(trace.content[page])}) == 2

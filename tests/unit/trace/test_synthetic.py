"""Traces that are made up have the rates and the contents that were asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pagethrift.trace.read import Trace, fingerprint, read_trace
from pagethrift.trace.synthetic import Load, Synthetic, make_trace

PAGES, HOT = 1000, 100


def made(folder: Path, load: Load, seed: int = 1, **wanted: int) -> Trace:
    path = folder / f"{load}-{seed}.parquet"
    make_trace(
        path, Synthetic(load, PAGES, hot_pages=HOT, writes_per_s=200.0, seconds=4.0, seed=seed, **wanted)
    )
    return read_trace(path)


@pytest.mark.parametrize("load", Load)
def test_only_hot_pages_are_written_and_not_more_than_wanted(tmp_path: Path, load: Load) -> None:
    trace = made(tmp_path, load)
    assert trace.header.synthetic
    assert len(trace.writes) <= 200 * 4
    assert trace.writes.page.max(initial=0) < HOT
    assert (trace.writes.time_s <= trace.duration_s).all()
    assert trace.duration_s == pytest.approx(4.0)


def test_one_page_after_the_other_has_exactly_the_rate(tmp_path: Path) -> None:
    assert len(made(tmp_path, Load.ROUND_ROBIN).writes) == 200 * 4
    assert len(made(tmp_path, Load.IDLE).writes) == 0


def test_few_pages_take_most_of_a_zipf_load(tmp_path: Path) -> None:
    """Repeated writes within a sweep count once, so a skewed load has fewer rows than a uniform one."""
    zipf, uniform = (made(tmp_path, load).writes.page for load in (Load.ZIPF, Load.UNIFORM))
    assert np.bincount(zipf).max() > 1.5 * np.bincount(uniform).max()


def test_contents_are_what_each_load_means(tmp_path: Path) -> None:
    flipper = made(tmp_path, Load.FLIPPER).writes
    for page in range(HOT):
        assert len(set(flipper.content[flipper.page == page].tolist())) == 2
    counters = made(tmp_path, Load.COUNTERS).writes
    assert {int(mask).bit_count() for mask in counters.changed} == {1}
    assert (counters.delta_bytes < 20).all()
    uniform = made(tmp_path, Load.UNIFORM).writes
    assert len(set(uniform.content.tolist())) == len(uniform)


def test_pages_out_of_use_are_zero(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.UNIFORM, used_pages=600)
    assert (trace.content[600:] == 0).all()
    assert (trace.content[:600] > 0).all()
    assert (trace.sparse_bytes[600:] == 0).all()


def test_a_seed_makes_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    for folder in (tmp_path, tmp_path / "again"):
        made(folder, Load.UNIFORM)
        made(folder, Load.UNIFORM, seed=2)
    names = ("uniform-1.parquet", "again/uniform-1.parquet", "uniform-2.parquet")
    one, same, other = (fingerprint(tmp_path / name) for name in names)
    assert one == same != other

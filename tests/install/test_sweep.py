"""``pip install 'pagethrift[sweep]'``: many simulations on workers."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from tests.install.conftest import ROOT, Installed

EXTRA = "sweep"
SPECIFICATION = f"""
traces = ["{ROOT}/traces/idle.parquet"]
bandwidths = ["1Gbit"]
strategies = [{{ name = "kvm-default" }}, {{ name = "pagethrift" }}]
"""


@pytest.mark.long
def test_a_small_sweep(installed: Installed) -> None:
    (installed.folder / "sweep.toml").write_text(SPECIFICATION)
    installed.ok("sweep", "sweep.toml", "--out", "sweep")
    table = pq.read_table(installed.folder / "sweep/results.parquet")
    assert table.column("outcome").to_pylist() == ["completed", "completed"]

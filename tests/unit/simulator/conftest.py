"""A specification of a sweep beside the trace it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagethrift.trace.synthetic import Load
from tests.traces import made

SPEC = """
traces = ["uniform.parquet"]
bandwidths = ["50Mbit", "100Mbit"]
force_after = "20s"
[[strategies]]
name = "kvm-default"
[[strategies]]
name = "pagethrift"
stop = "qemu"
parameters = { hot_rounds = [1, 2, 3] }
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    made(tmp_path, Load.UNIFORM)
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return path

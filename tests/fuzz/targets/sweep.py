"""Specifications of sweeps in TOML: cells that can be simulated, or one UsageError."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pagethrift.errors import UsageError
from pagethrift.simulator.sweep_spec import read_spec
from tests.fuzz.target import Target, check_line, file_of


def fuzz_one(data: bytes) -> None:
    if b"/" in data or b"*" in data or b"\\" in data:
        return  # of files elsewhere
    with file_of(b"trace", "t"), file_of(data, "sweep.toml") as path:
        try:
            cells = read_spec(path)
        except UsageError as error:
            check_line(error)
            return
    assert cells
    for cell in cells[:5]:
        assert len(cell.key) == 24
        assert cell.bandwidth_bps > 0
        assert cell.speed > 0
        assert math.isfinite(cell.delay_s + cell.downtime_limit_s + cell.give_up_s)
        assert cell.options


def seeds() -> Iterator[bytes]:
    base = 'traces = ["t"]\nbandwidths = ["1Gbit", "100Mbit"]\nstrategies = [{ name = "hu" }]\n'
    for more in (
        "", "seeds = [1, 2]\n", "speeds = [1, 2.5]\n", 'force_after = "10s"\n', 'give_up = "1h"\n',
        'delays = ["1ms"]\ndowntime_limits = ["300ms"]\n', "seeds = [-1]\n", "unknown = 1\n",
    ):  # fmt: skip
        yield (base + more).encode()
    rows = '[{ name = "lin", stop = "nova", as_live = true, parameters = { ones = [1, 2] } }, { name = "x" }]'
    yield base.replace('[{ name = "hu" }]', rows).encode()


TARGET = Target(fuzz_one, seeds, most_bytes=1500)

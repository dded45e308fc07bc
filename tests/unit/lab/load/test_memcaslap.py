"""memcaslap's output and settings."""

from __future__ import annotations

import pytest

from pagethrift.errors import UsageError
from pagethrift.lab.load.memcaslap import MemcaslapSpec, parse_series

HEADINGS = (
    "Type     Time(s)  Ops          TPS(ops/s)   Net(M/s)   Get_miss   "
    "Min(us)  Max(us)    Avg(us)    Std_dev    Geo_dist  "
)
# Two seconds as memcaslap of libmemcached 1.1.4 wrote them, its columns put closer.
OUTPUT = f"""servers: 127.0.0.1:33111
threads count: 2
windows size: 4k
\x1b[1;1H\x1b[2J
Get Statistics
{HEADINGS}
Period   1     12693     12693     12.3     0     19     35517     318     1248.09    167.52
Global   1     12693     12693     12.3     0     19     35517     318     1248.09    167.52

Total Statistics
{HEADINGS}
Period   1     25397     25397     24.6     7     19     514315     471     9023.48    171.87
Global   1     25397     25397     24.6     7     19     514315     471     9023.48    171.87

\x1b[1;1H\x1b[2J
Get Statistics
{HEADINGS}
Period   1     27012     27012     26.2     0     18     43769     294     1176.10    163.91
Global   2     39705     19852     19.2     0     18     43769     302     1199.54    165.08

Total Statistics
{HEADINGS}
Period   1     54024     54024     52.3     0     18     43769     294     1145.10    165.21
Global   2     79421     39710     38.5     7     18     514315     350     5189.97    167.31
"""


def test_each_second_of_the_totals_is_read() -> None:
    assert parse_series(OUTPUT) == {
        "operations": [25397, 54024],
        "misses": [7, 0],
        "max_ms": [514.315, 43.769],
        "mean_ms": [0.471, 0.294],
    }


def test_a_second_that_is_cut_off_is_left_out() -> None:
    assert parse_series(OUTPUT[: OUTPUT.rindex("Period")])["operations"] == [25397]
    assert parse_series("")["operations"] == []


@pytest.mark.parametrize(
    "values",
    [{"overwrite_share": 1.0}, {"set_share": 1.5}, {"window": "10"}, {"window": 5}, {"value_bytes": -1}],
)
def test_settings_that_do_not_work_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        MemcaslapSpec(**values)  # type: ignore[arg-type]

"""The table [link] of a scenario."""

import tomllib

import pytest

from pagethrift.errors import UsageError
from pagethrift.lab.link.spec import LinkSpec, Security, read_link
from pagethrift.model.run_result import LinkChange
from pagethrift.toml_table import TomlTable


def read(text: str) -> LinkSpec:
    return read_link(TomlTable(tomllib.loads(text), "link."))


def test_an_empty_table_is_the_default() -> None:
    assert read("") == LinkSpec()
    assert LinkSpec().bandwidth_bps == 12_500_000


def test_everything_is_read_with_its_units() -> None:
    link = read(
        'bandwidth = "1Gbit"\ndelay = "10ms"\nsecurity = "ssh"\n'
        'changes = [{after = "5s", bandwidth = "50Mbit"}, {after = "8s", bandwidth = "unshaped"}]'
    )
    changes = (LinkChange(5.0, 6_250_000), LinkChange(8.0, None))
    assert link == LinkSpec(125_000_000, changes, 0.01, Security.SSH)


@pytest.mark.parametrize(
    ("text", "fastest_bps"),
    [
        ('bandwidth = "80Mbit"', 10_000_000),
        ('bandwidth = "80Mbit"\nchanges = [{after = "1s", bandwidth = "160Mbit"}]', 20_000_000),
        ('bandwidth = "80Mbit"\nchanges = [{after = "1s", bandwidth = "unshaped"}]', None),
    ],
)
def test_the_fastest_rate_is_that_of_any_time(text: str, fastest_bps: int | None) -> None:
    assert read(text).fastest_bps == fastest_bps


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('security = "ipsec"', "link.security: no 'ipsec'; choose one of none, ssh, tls"),
        ('delay = "1min"', "at most 5 s"),
        ('changes = [{after = "5s"}]', "needs bandwidth"),
        ('changes = [{after = "5s", bandwidth = "fast"}]', r"link.changes\[0\].bandwidth: 'fast' is not"),
        (
            'changes = [{after = "2s", bandwidth = "1Mbit"}, {after = "1s", bandwidth = "2Mbit"}]',
            "in the order",
        ),
        (
            'changes = [{after = "1s", bandwidth = "1Mbit", until = 2}]',
            r"unknown key link.changes\[0\].until",
        ),
        ("changes = [1]", r"link.changes\[0\] must be a table"),
        ('speed = "1Gbit"', "unknown key link.speed"),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read(text)

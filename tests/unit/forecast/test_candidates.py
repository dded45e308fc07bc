"""The modes of a forecast: each can be migrated in with the options that it names."""

from __future__ import annotations

import pytest
import typer

from pagethrift.cli import migrate
from pagethrift.forecast.candidates import Candidate, candidates
from pagethrift.model.channels import CHANNELS, Compress
from pagethrift.strategies.table import parse_parameters
from pagethrift.units import parse_size

EVERY = [*candidates(1000), *candidates(1000, channels=False)]


@pytest.mark.parametrize("candidate", EVERY, ids=lambda each: f"{each.name}, {each.compress}")
def test_its_options_are_those_of_migrate(candidate: Candidate) -> None:
    parser = typer.main.get_command(migrate.app)
    arguments = ["--qmp", "/q", "--to", "h:1", *candidate.options.split()]
    given = parser.make_context("migrate", arguments).params
    assert given["plain"] == candidate.plain
    features = candidate.result_features
    assert given["auto_converge"] == ("auto-converge" in features)
    assert given["post_copy"] == ("postcopy-ram" in features)
    cache = given["xbzrle_cache"]
    assert (parse_size(cache) if cache else None) == features.get("xbzrle-cache-size")
    if not candidate.plain:
        assert given["strategy"] == candidate.row
        chosen = parse_parameters(given["param"] or ())
        assert chosen == candidate.parameters
        if candidate.made().compresses:
            assert given["compress"] == candidate.compress
            assert candidate.channels == (0 if candidate.compress is Compress.OFF else CHANNELS)


def test_names_are_unique_and_the_default_comes_first() -> None:
    names = [each.name for each in candidates(1000)]
    assert len(set(names)) == len(names)
    assert names[0] == "pagethrift"
    assert candidates(1000, channels=False)[0].name == "pagethrift, plain pages"


def test_what_costs_the_guest_something_says_so() -> None:
    assert {each.name for each in candidates(0) if each.caution} == {"auto-converge", "post-copy"}


@pytest.mark.parametrize(
    ("written_mib", "cache_mib"), [(0, 64), (40, 64), (50, 128), (300, 512), (1 << 20, 4096)]
)
def test_the_cache_has_room_for_what_is_written(written_mib: int, cache_mib: int) -> None:
    names = [each.name for each in candidates(written_mib * 256)]
    assert f"xbzrle:{cache_mib}MiB" in names


def test_a_link_with_tls_has_no_plain_modes() -> None:
    assert not any(each.plain for each in candidates(1000, relayed=True))

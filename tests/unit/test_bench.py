"""The benchmarks on tiny sizes: everything runs and counts what it should; no timing is judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scripts.bench import (
    candidates,
    cold_start,
    instructions,
    link,
    memory,
    output,
    profile,
    rounds,
    signatures,
    stages,
)
from scripts.bench.__main__ import BASELINE, Plan, measure
from scripts.bench.mixes import MIXES, Mix, write_stream
from scripts.bench.pipes import run_command

from pagethrift.content.ledger import ALL_CHANGED
from pagethrift.engine.thin import thin
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.strategies.table import strategy
from pagethrift.stream.image import image
from tests.unit.twins import signature

PAGES = 600


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_streams_are_legal_and_thin_to_the_same_image(mix: Mix, tmp_path: Path) -> None:
    stream = write_stream(mix, tmp_path / "stream", PAGES)
    data = stream.path.read_bytes()
    assert len(data) == stream.total_bytes
    thinned = thin(data, strategy("pagethrift"), bytes(32))
    assert np.array_equal(image(thinned).memory, image(data).memory)


def test_second_rounds_change_what_they_say(tmp_path: Path) -> None:
    changed = {}
    for mix in MIXES:
        if mix.second is not None:
            stream = write_stream(mix, tmp_path / "stream", PAGES)
            masks = np.concatenate(stages.Decisions.of(stream).masks)[-PAGES:]
            assert ALL_CHANGED not in masks
            changed[mix.name] = {int(mask).bit_count() for mask in masks}
    assert changed == {
        "second-equal": {0},
        "second-8-bytes": {1},
        "second-subpage": {1},
        "second-all-new": {16},
    }


def test_one_mix_in_process(tmp_path: Path) -> None:
    plan = Plan(0, PAGES, 2, 0, ("normal",), commands=False)
    result = measure(MIXES[0], plan, tmp_path, lambda text: None)
    assert set(result["measures"]) >= {"reader alone", "writer alone", "thin pagethrift, in process"}
    assert len(result["measures"]["reader alone"]["mb_per_s"]["rounds"]) == 2
    assert "thin pagethrift, in process" in output.table("normal", result)


@pytest.mark.parametrize("sockets", [False, True])
def test_cat_passes_everything_that_is_on_the_clock(tmp_path: Path, sockets: bool) -> None:
    stream = write_stream(MIXES[0], tmp_path / "stream", PAGES)
    sample = run_command(["cat"], stream, sockets)
    assert sample.in_bytes == sample.out_bytes == stream.measured_bytes


def test_interleaving_alternates_and_takes_ratios_within_a_round() -> None:
    order: list[str] = []
    speeds = {"a": [1.0, 2.0, 4.0], "b": [2.0, 4.0, 8.0]}

    def measure_of(name: str) -> rounds.Sample:
        order.append(name)
        return rounds.Sample(1 / speeds[name][(len(order) - 1) // 2], 1_000_000, 1)

    found = rounds.interleave({n: lambda n=n: measure_of(n) for n in speeds}, 2, 1, "a")  # type: ignore[misc]
    assert order == ["b", "a", "a", "b", "b", "a"]
    assert [row["percent_of_cat"] for row in found["b"].rounds] == pytest.approx([200, 200])


def test_instructions_drowned_in_noise_are_withheld() -> None:
    assert instructions.difference([1000, 1001], [2000, 2001], 10)["instructions_per_page"] == 100
    assert instructions.difference([1000, 1400], [1100, 1500], 10)["instructions_per_page"] is None
    assert instructions.difference([1000, 1000], [900, 900], 10)["instructions_per_page"] is None


@pytest.mark.parametrize("subpage", candidates.SUBPAGES)
def test_nh32_candidate_is_what_is_used(subpage: int) -> None:
    random = np.random.default_rng(subpage)
    first, second, fold = (random.integers(0, 1 << 64, n, np.uint64) for n in (subpage // 8, subpage // 8, 4))
    buffer = random.integers(0, 256, PAGE_BYTES + 3, np.uint8)
    out = np.zeros((1, PAGE_BYTES // subpage), np.uint64)
    candidates.nh32_pages(buffer, np.array([3]), subpage, first, second, fold, out)

    for column, sign in enumerate(out[0].tolist()):
        part = buffer[3 + column * subpage :][:subpage].tobytes()
        assert sign == signature(part, b"".join(key.tobytes() for key in (first, second, fold)))


def test_candidates_table_and_profile(tmp_path: Path) -> None:
    document = signatures.run(1, 1)
    assert candidates.AS_USED in signatures.markdown(document)
    output.write_json(tmp_path / "x.json", document)
    assert json.loads((tmp_path / "x.json").read_text()) == json.loads(json.dumps(document))
    stream = write_stream(MIXES[0], tmp_path / "stream", PAGES)
    assert set(profile.shares(stream)) == set(profile.STAGES)


@pytest.mark.slow
def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    speed = {"median": 2.0, "min": 1.0, "max": 3.0}
    output.plot(tmp_path / "p.svg", {"mixes": {"normal": {"measures": {BASELINE: {"mb_per_s": speed}}}}})
    assert (tmp_path / "p.svg").stat().st_size > 1000


def test_guest_streams_have_the_pages_they_say() -> None:
    for scattered in (False, True):
        guest = memory.Guest(1, scattered)
        assert guest.data_pages == 1 << 16
        assert guest.pages == 1 << 18
        first = next(guest.stream())
        assert bytes(first[:4]) == b"QEVM"


@pytest.mark.slow
def test_a_cold_start_is_measured_on_both_commands() -> None:
    stream = cold_start.short_stream()
    assert cold_start.thin_start(stream) > 0
    assert cold_start.relay_start(stream) > 0


def test_the_link_with_and_without_tls() -> None:
    said: list[str] = []
    measures = link.measure(1, 2, said.append)["measures"]
    assert len(measures) == len(said) == 8
    assert all(each["mb_per_s"]["median"] > 0 for each in measures.values())

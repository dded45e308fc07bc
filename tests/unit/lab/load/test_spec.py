"""The load's description, popularity, values and schedule."""

from __future__ import annotations

import dataclasses
import itertools
import json
import zlib

import numpy as np
import pytest

from pagethrift.errors import UsageError
from pagethrift.lab.load.spec import Distribution, LoadSpec, key_name, key_value, plan, popularity


def first_operations(spec: LoadSpec, chunks: int = 12) -> dict[str, np.ndarray]:
    """Operations of all connections over the time their plans have in common."""
    weights = popularity(spec)
    rows = []
    for number in range(spec.connections):
        for part in itertools.islice(plan(spec, number, weights[number :: spec.connections]), chunks):
            key = np.array(part.key) * spec.connections + number
            rows.append(np.column_stack([part.after_ns, key, part.is_set, part.is_same]))
    table = np.concatenate(rows)
    ends = [rows[i * chunks + chunks - 1][-1, 0] for i in range(spec.connections)]
    table = table[table[:, 0] <= min(ends)]
    return dict(zip(("after_ns", "key", "is_set", "is_same"), table.T, strict=True))


def test_json_round_trip() -> None:
    spec = LoadSpec(keys=5000, distribution=Distribution.ZIPF, zipf_theta=0.8, duration_s=3.5)
    assert LoadSpec.from_json(spec.to_json()) == spec
    assert LoadSpec.from_json("{}") == LoadSpec()
    assert json.loads(spec.to_json())["distribution"] == "zipf"


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "no",
        '{"speed": 1}',
        '{"keys": 0}',
        '{"value_bytes": 8}',
        '{"set_share": 1.1}',
        '{"distribution": "normal"}',
        '{"rate_per_s": 0}',
        '{"connections": 0}',
        '{"keys": 3, "connections": 4}',
        '{"keys": "many"}',
        '{"duration_s": -1}',
        '{"burst": 0}',
        '{"timeout_s": 0}',
    ],
)
def test_impossible_specs_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError):
        LoadSpec.from_json(text)


def test_values_differ_by_key_version_and_seed_and_repeat() -> None:
    spec = LoadSpec()
    other = dataclasses.replace(spec, seed=2)
    values = {key_value(spec, 1, 0), key_value(spec, 1, 1), key_value(spec, 2, 0), key_value(other, 1, 0)}
    assert len(values) == 4
    assert {len(value) for value in values} == {spec.value_bytes}
    assert key_value(spec, 1, 1) == key_value(LoadSpec(), 1, 1)
    assert len({key_name(index) for index in range(200)}) == 200


@pytest.mark.parametrize(
    ("compressibility", "low", "high"), [(0.0, 0.99, 1.02), (0.5, 0.5, 0.6), (1.0, 0, 0.1)]
)
def test_compressibility_is_what_a_compressor_finds(compressibility: float, low: float, high: float) -> None:
    spec = LoadSpec(compressibility=compressibility, value_bytes=4000)
    value = key_value(spec, 7, 3)
    assert low <= len(zlib.compress(value, 9)) / len(value) <= high


@pytest.mark.parametrize("burst", [1, 4])
def test_schedule_has_the_rate_and_the_shares(burst: int) -> None:
    spec = LoadSpec(keys=1000, rate_per_s=5000, set_share=0.4, same_value_share=0.25, burst=burst)
    made = first_operations(spec)
    count = len(made["key"])
    assert count / (made["after_ns"].max() / 1e9) == pytest.approx(5000, rel=0.05)
    assert made["is_set"].mean() == pytest.approx(0.4, abs=0.01)
    assert made["is_same"].sum() / made["is_set"].sum() == pytest.approx(0.25, abs=0.015)
    assert not (made["is_same"] > made["is_set"]).any()


def test_uniform_keys_are_equally_popular() -> None:
    made = first_operations(LoadSpec(keys=100, connections=3))
    counts = np.bincount(made["key"], minlength=100)
    expected = counts.sum() / 100
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 160, "99 degrees of freedom: above 160 once in ten thousand"


def test_zipf_keys_follow_the_law_over_all_connections() -> None:
    spec = LoadSpec(keys=1000, connections=5, distribution=Distribution.ZIPF, zipf_theta=0.99, burst=1)
    weights = popularity(spec)
    assert weights.sum() == pytest.approx(1)
    ranked = np.sort(weights)[::-1]
    assert ranked[0] / ranked[9] == pytest.approx(10**0.99)
    counts = np.bincount(first_operations(spec)["key"], minlength=1000)
    measured = counts / counts.sum()
    hottest = np.argsort(weights)[::-1][:10]
    np.testing.assert_allclose(measured[hottest], weights[hottest], rtol=0.1)
    assert not np.array_equal(popularity(dataclasses.replace(spec, seed=9)), weights)


def test_each_connection_has_its_own_schedule_and_a_seed_repeats_it() -> None:
    spec = LoadSpec(keys=100)
    weights = popularity(spec)[::8]
    one, again, other = (next(plan(spec, number, weights)) for number in (1, 1, 2))
    assert one == again
    assert one != other
    assert all(a <= b for a, b in itertools.pairwise(one.after_ns))

"""A matrix: one file that says which scenarios are compared, and what replaces their settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagethrift.errors import UsageError
from pagethrift.lab.matrix import read_compared
from pagethrift.lab.scenario import read_scenario

ROOT = Path(__file__).resolve().parents[3]


def _write(folder: Path, text: str) -> Path:
    (folder / "one.toml").write_text('name = "one"\n[migration]\nmodes = ["plain"]\nforce_after = "9s"\n')
    (folder / "two.toml").write_text('name = "two"\n[link]\nbandwidth = "1Gbit"\n')
    path = folder / "matrix.toml"
    path.write_text(text)
    return path


def test_a_matrix_replaces_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    path = _write(
        tmp_path, 'scenarios = ["one.toml", "two.toml"]\nmodes = ["xen", "plain"]\nrepetitions = 4\n'
    )
    one, two = read_compared(path)
    assert [each.name for each in (one, two)] == ["one", "two"]
    for each in (one, two):
        assert [mode.name for mode in each.modes] == ["xen", "plain"]
        assert each.repetitions == 4
    assert one.force_after_s == 9
    assert two.link.bandwidth_bps == 125e6


def test_bandwidth_and_deadline_replace_every_scenarios(tmp_path: Path) -> None:
    path = _write(
        tmp_path, 'scenarios = ["one.toml", "two.toml"]\nbandwidth = "10Mbit"\nforce_after = "3s"\n'
    )
    for each in read_compared(path):
        assert each.link.bandwidth_bps == 1.25e6
        assert each.force_after_s == 3
    assert [mode.name for mode in read_compared(path)[0].modes] == ["plain"]


def test_every_scenario_runs_with_every_qemu_under_a_name_of_its_own(tmp_path: Path) -> None:
    path = _write(tmp_path, 'scenarios = ["one.toml", "two.toml"]\nqemu = ["7.2", "10.0"]\n')
    assert [(each.name, each.qemu) for each in read_compared(path)] == [
        ("one-qemu7.2", "7.2"),
        ("one-qemu10.0", "10.0"),
        ("two-qemu7.2", "7.2"),
        ("two-qemu10.0", "10.0"),
    ]


def test_a_scenario_is_read_as_one(tmp_path: Path) -> None:
    _write(tmp_path, "")
    assert read_compared(tmp_path / "one.toml") == [read_scenario(tmp_path / "one.toml")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scenarios = []", "at least one"),
        ("scenarios = [3]", "scenarios must be texts in quotes, not 3"),
        ('scenarios = ["one.toml"]\nspeed = 2', "unknown key speed"),
        ('scenarios = ["none.toml"]', "cannot read"),
        ('scenarios = ["one.toml"]\nmodes = ["fast"]', "fast"),
        ('scenarios = ["one.toml"]\nqemu = ["4.2"]', "series of QEMU is '4.2'"),
        ("scenarios = ", "not TOML"),
    ],
)
def test_a_wrong_matrix_is_refused_with_its_name(tmp_path: Path, text: str, says: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(UsageError, match=says) as error:
        read_compared(path)
    assert "matrix.toml" in str(error.value)


def test_the_shipped_matrices_are_read() -> None:
    scenarios = read_compared(ROOT / "studies" / "comparison.toml")
    assert len(scenarios) == 6
    assert all(each.repetitions == 5 for each in scenarios)

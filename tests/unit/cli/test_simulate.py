"""``pagethrift simulate`` from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pagethrift.cli import simulate
from pagethrift.errors import UsageError
from pagethrift.model.result import MigrationResult
from pagethrift.trace.synthetic import Load
from tests.traces import made, run


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    made(tmp_path, Load.UNIFORM)
    return tmp_path / "uniform.parquet"


def call(*arguments: object) -> str:
    result = CliRunner().invoke(
        simulate.app, [str(argument) for argument in arguments], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.output


def test_json_and_file_are_the_simulation(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    text = call(
        trace, "--strategy", "hu", "--bandwidth", "100Mbit", "--param", "ones=2", "--json", "--out", out
    )
    result = MigrationResult.from_json(text)
    assert MigrationResult.from_json(out.read_text()) == result
    assert result.began_unix_s > 1e9
    expected = run(made(tmp_path), "hu", parameters={"ones": 2})
    assert (result.total_time_s, result.rounds) == (expected.total_time_s, expected.rounds)


def test_words_and_link_steps(trace: Path) -> None:
    text = call(
        trace, "--bandwidth", "100Mbit", "--stop", "nova", "--step", "500ms:50Mbit", "--delay", "10ms"
    )
    assert "total time" in text
    assert "completed" in text
    failed = call(trace, "--bandwidth", "10Mbit", "--give-up", "20s", "--clear-chunk", "0", "--as-live")
    assert "not converged" in failed


def test_compression_is_said_and_can_be_left_out(trace: Path) -> None:
    ours = [trace, "--bandwidth", "100Mbit", "--json"]
    auto = MigrationResult.from_json(call(*ours))
    assert (auto.channels, auto.window_bytes) == (2, 128 << 20)
    other = MigrationResult.from_json(call(*ours, "--channels", 3, "--window", "4MiB", "--compressor", "1MB"))
    assert (other.channels, other.window_bytes) == (3, 4 << 20)
    assert other.pages.compressed < auto.pages.compressed
    off = MigrationResult.from_json(call(*ours, "--compress", "off"))
    assert (off.channels, off.window_bytes, off.pages.compressed) == (0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--channels", "2", "--compress", "off"), "--channels is about compressed pages"),
        (("--channels", "0"), "choose 1 to 16"),
        (("--window", "3MiB"), "--window 3MiB"),
        (("--compressor", "fast"), "not a size"),
        (("--step", "5s"), "step"),
        (("--strategy", "none"), "no strategy"),
        (("--param", "x=1"), "no parameter"),
        (("--out", "/absent/file"), "--out /absent/file"),
        (("--downtime-limit", "soon"), "duration"),
    ],
)
def test_refusals(trace: Path, arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        call(trace, "--bandwidth", "1Gbit", *arguments)

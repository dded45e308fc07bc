"""What a sweep shall simulate: every combination once, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagethrift.errors import UsageError
from pagethrift.model.channels import Compress
from pagethrift.model.defaults import DOWNTIME_LIMIT_S
from pagethrift.simulator import sweep_spec
from pagethrift.simulator.simulate_options import SimulateOptions
from pagethrift.simulator.sweep_spec import read_spec
from pagethrift.simulator.virtual_link import LinkSpec


def test_a_specification_is_a_grid(spec: Path) -> None:
    cells = read_spec(spec)
    assert len(cells) == 2 * (1 + 3)
    assert len({cell.key for cell in cells}) == 8
    ours = [cell for cell in cells if cell.strategy == "pagethrift"]
    assert {cell.bandwidth_bps for cell in ours} == {6_250_000, 12_500_000}
    assert [dict(cell.parameters) for cell in ours[:3]] == [{"hot_rounds": n} for n in (1.0, 2.0, 3.0)]
    assert all(cell.stop == "qemu" and cell.force_after_s == 20 for cell in ours)


def test_the_key_is_the_work_not_the_place(spec: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("uniform.parquet", "spec.toml"):
        (other / name).write_bytes((tmp_path / name).read_bytes())
    assert [cell.key for cell in read_spec(spec)] == [cell.key for cell in read_spec(other / "spec.toml")]
    (other / "spec.toml").write_text(spec.read_text().replace("20s", "21s"))
    assert {c.key for c in read_spec(spec)}.isdisjoint(c.key for c in read_spec(other / "spec.toml"))


@pytest.mark.parametrize("pattern", ["uniform.parquet", "uni*.parquet"])
def test_traces_may_lie_anywhere(spec: Path, tmp_path: Path, pattern: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "spec.toml").write_text(spec.read_text().replace("uniform.parquet", str(tmp_path / pattern)))
    assert [cell.key for cell in read_spec(elsewhere / "spec.toml")] == [cell.key for cell in read_spec(spec)]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("traces", "trace", "no 'trace'"),
        ("uniform.parquet", "absent.parquet", "absent"),
        ('"50Mbit"', '"fast"', "bandwidth"),
        ('"kvm-default"', '"kvm-defualt"', "kvm-defualt"),
        ("hot_rounds", "hot_round", "hot_round"),
        ("stop =", "stopp =", "stopp"),
        ('["50Mbit", "100Mbit"]', "[]", "nothing"),
        ("[[strategies]]", "[[strategies", "spec.toml"),
        ("[1, 2, 3]", '["a"]', "broken"),
        ("force_after", "speeds = [1]\nforce_after", "one for each"),
        ("force_after", "speeds = [1, 0]\nforce_after", "positive"),
    ],
)
def test_wrong_specifications(spec: Path, old: str, new: str, says: str) -> None:
    spec.write_text(spec.read_text().replace(old, new))
    with pytest.raises(UsageError, match=says):
        read_spec(spec)


def test_results_of_other_code_are_not_kept(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = read_spec(spec)[0]
    before = cell.key
    monkeypatch.setattr(sweep_spec, "source_digest", lambda *floors: "edited")
    assert cell.key != before


def test_every_list_multiplies_and_equal_cells_are_one(spec: Path) -> None:
    text = spec.read_text().replace(
        "force_after",
        'delays = ["0s", "10ms"]\ndowntime_limits = ["300ms", "1s", "1000ms"]\nseeds = [1, 2]\nforce_after',
    )
    spec.write_text(text)
    cells = read_spec(spec)
    assert len(cells) == len(set(cells)) == 2 * 2 * 2 * 2 * (1 + 3)
    assert {(cell.delay_s, cell.downtime_limit_s, cell.seed) for cell in cells} == {
        (delay_s, limit_s, seed) for delay_s in (0.0, 0.01) for limit_s in (0.3, 1.0) for seed in (1, 2)
    }


def test_parameters_of_a_strategy_are_a_grid_by_name(spec: Path) -> None:
    spec.write_text(
        spec.read_text().replace("hot_rounds = [1, 2, 3]", "margin = [0.5, 0.6], hot_rounds = [1, 2]")
    )
    found = [cell.parameters for cell in read_spec(spec) if cell.bandwidth_bps == 6_250_000]
    assert found == [
        (),
        (("hot_rounds", 1.0), ("margin", 0.5)), (("hot_rounds", 1.0), ("margin", 0.6)),
        (("hot_rounds", 2.0), ("margin", 0.5)), (("hot_rounds", 2.0), ("margin", 0.6)),
    ]  # fmt: skip


def test_what_is_not_said_is_the_simulators_default(spec: Path) -> None:
    spec.write_text(spec.read_text().replace('force_after = "20s"\n', ""))
    cell = read_spec(spec)[0]
    assert (cell.speed, cell.seed, cell.stop, cell.parameters) == (1.0, 0, "", ())
    assert cell.options == SimulateOptions(LinkSpec(6_250_000), compress=Compress.OFF)
    assert read_spec(spec)[-1].options == SimulateOptions(LinkSpec(12_500_000))
    assert cell.options.downtime_limit_s == DOWNTIME_LIMIT_S


def test_what_is_said_reaches_the_simulation(spec: Path) -> None:
    text = spec.read_text().replace(
        "force_after", 'delays = ["10ms"]\ndowntime_limits = ["1s"]\ngive_up = "2min"\nforce_after'
    )
    spec.write_text(text.replace('"kvm-default"', '"kvm-default"\nas_live = true'))
    cell = read_spec(spec)[0]
    assert cell.options == SimulateOptions(
        LinkSpec(6_250_000, delay_s=0.01),
        downtime_limit_s=1.0,
        force_after_s=20.0,
        give_up_s=120.0,
        as_live=True,
        compress=Compress.OFF,
    )
    assert not read_spec(spec)[-1].as_live


def test_a_force_after_for_each_bandwidth_and_no_other_number_of_them(spec: Path) -> None:
    whole = spec.read_text()
    spec.write_text(whole.replace('"20s"', '["20s", "2s"]'))
    assert {(cell.bandwidth_bps, cell.force_after_s) for cell in read_spec(spec)} == {
        (6_250_000, 20.0), (12_500_000, 2.0),
    }  # fmt: skip
    spec.write_text(whole.replace('"20s"', '["20s", "2s", "1s"]'))
    with pytest.raises(UsageError, match=r"force_after: .*one for each of the 2 bandwidths"):
        read_spec(spec)


def test_compression_is_for_rows_that_may_compress(spec: Path) -> None:
    whole = spec.read_text()
    spec.write_text(whole.replace("force_after", 'channels = 4\nwindow = "32MiB"\nforce_after'))
    plain, ours = read_spec(spec)[0], read_spec(spec)[-1]
    assert (plain.compress, plain.channels, plain.window_log) == (Compress.OFF, 0, 0)
    assert (ours.compress, ours.channels, ours.window_log) == (Compress.AUTO, 4, 25)
    assert (ours.options.channels, ours.options.window_log) == (4, 25)
    spec.write_text(whole.replace("force_after", 'compress = "off"\nforce_after'))
    assert {cell.compress for cell in read_spec(spec)} == {Compress.OFF}


def test_a_row_has_its_own_compression(spec: Path) -> None:
    both = '\n[[strategies]]\nname = "pagethrift"\ncompress = "off"\n'
    spec.write_text(spec.read_text().replace('stop = "qemu"\n', 'window = "1MiB"\n') + both)
    ours = [cell for cell in read_spec(spec) if cell.strategy == "pagethrift"]
    assert {(cell.compress, cell.window_log) for cell in ours if cell.parameters} == {(Compress.AUTO, 20)}
    assert {(cell.compress, cell.window_log) for cell in ours if not cell.parameters} == {(Compress.OFF, 0)}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('compress = "zstd"', "compress is one of off, auto, on, not 'zstd'"),
        ("channels = 17", "choose 1 to 16"),
        ('window = "100MiB"', "window 100MiB: choose a power of two"),
        ('window = "256MiB"', "window 256MiB: choose a power of two"),
    ],
)
def test_impossible_compression(spec: Path, line: str, says: str) -> None:
    spec.write_text(spec.read_text().replace("force_after", f"{line}\nforce_after"))
    with pytest.raises(UsageError, match=says):
        read_spec(spec)


def test_no_specification(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*absent\.toml: No such file"):
        read_spec(tmp_path / "absent.toml")


def test_other_traces_bytes_are_other_work(spec: Path) -> None:
    before = {cell.key for cell in read_spec(spec)}
    trace = spec.parent / "uniform.parquet"
    trace.write_bytes(trace.read_bytes() + b" ")
    assert before.isdisjoint(cell.key for cell in read_spec(spec))

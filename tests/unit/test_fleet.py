"""The fleet: drains computed by hand, every guest counted once, guests by their seeds, a worker killed."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scripts.studies.fleet import __main__ as command
from scripts.studies.fleet import show, sizes, table
from scripts.studies.fleet.drain import Drained, Guests, Limits, drain
from scripts.studies.fleet.population import draw, guests
from scripts.studies.fleet.spec import GIB, Spec, read
from scripts.studies.fleet.study import Part, parts, ranges, run, run_part, scenarios

from pagethrift.errors import UsageError
from pagethrift.model.pages import F64
from pagethrift.trace.synthetic import Load
from tests.processes import worker_pids
from tests.traces import made

ROOT = Path(__file__).parents[2]
SPEC = read(ROOT / "studies/fleet.toml")
COLUMNS = np.array([1, 2], np.int64)
"""alone, and with another"""


def some(host: list[int], alone_s: list[float], converges: list[list[bool]] | None = None) -> Guests:
    """Return guests that take twice as long in twos, send 100 bytes a second alone, of 50 bytes in use."""
    count = len(host)
    total: F64 = np.array([[each, 2 * each] for each in alone_s], np.float64)
    return Guests(
        host=np.array(host, np.int64),
        total_s=total,
        sent_bytes=np.array([[100 * each, 100 * each] for each in alone_s], np.float64),
        downtime_s=np.array([[0.1, 0.4]] * count),
        converges=np.array(converges or [[True, True]] * count),
        first_bytes=np.full((count, 2), 50.0),
        timeout_s=np.full(count, 1000.0),
    )


def done(found: Guests, a_host: int, a_group: int = 0, at_once: int = 1, stall_s: float = 0.0) -> Drained:
    return drain(found, COLUMNS, Limits(a_host, a_group, at_once, stall_s))


def test_one_at_a_time_is_a_sum() -> None:
    drained = done(some([0, 0, 0, 1], [3.0, 5.0, 2.0, 4.0]), a_host=1)
    assert drained.begun_s.tolist() == pytest.approx([0, 3, 8, 10])
    assert drained.ended_s.tolist() == pytest.approx([3, 8, 10, 14])
    assert drained.sent_bytes.tolist() == pytest.approx([300, 500, 200, 400])
    assert drained.downtime_s.tolist() == [0.1] * 4
    assert not drained.forced.any()


def test_two_share_the_link_of_their_host() -> None:
    """In twos, 3 and 5 s: the first ends after 6 s, when the second has 2 s left alone."""
    drained = done(some([0, 0], [3.0, 5.0]), a_host=2)
    assert drained.ended_s.tolist() == pytest.approx([6, 8])
    assert drained.sent_bytes.tolist() == pytest.approx([300, 500])
    assert drained.downtime_s.tolist() == [0.4, 0.1], (
        "what it stops for is a question of the share at its end"
    )


def test_more_than_the_table_has_take_proportionally_longer() -> None:
    drained = done(some([0, 0, 0, 0], [1.0] * 4), a_host=0)
    assert drained.ended_s.tolist() == pytest.approx([4] * 4)
    assert drained.sent_bytes.tolist() == pytest.approx([100] * 4)


def test_between_two_columns_by_the_logarithm() -> None:
    """Three of [2, 8]: the logarithm of 3/2 in that of 4; with 1 and 4 s that is 4 ** 0.292 = 1.5 s."""
    three = some([0, 0, 0], [1.0] * 3)
    found = replace(three, total_s=np.array([[1.0, 4.0]] * 3))
    drained = drain(found, np.array([2, 8], np.int64), Limits(0, 0, 1, 0.0))
    assert drained.ended_s.tolist() == pytest.approx([1.5] * 3)


def test_a_group_has_fewer_than_its_hosts() -> None:
    """Two hosts at a time with two each, three in all: the third guest of the group waits for the first."""
    drained = done(some([0, 0, 1, 1, 2], [2.0, 2.0, 9.0, 1.0, 1.0]), a_host=2, a_group=3, at_once=2)
    assert drained.begun_s.tolist() == pytest.approx([0, 0, 0, 4, 4])
    assert drained.ended_s.tolist()[:2] == pytest.approx([4, 4])
    # alone for 4 s, then the last guest of its host takes 2 s and the other has gone 4 + 2 / 2 of its 9 s
    assert drained.ended_s.tolist()[2:] == pytest.approx([10, 6, 5])


def test_hosts_follow_one_another() -> None:
    drained = done(some([0, 1, 2], [1.0, 2.0, 3.0]), a_host=2, at_once=2)
    assert drained.begun_s.tolist() == pytest.approx([0, 0, 1])
    assert drained.ended_s.tolist() == pytest.approx([1, 2, 4])


def test_what_does_not_converge_is_given_up() -> None:
    """It sends all the while: 100 bytes a second for 1000 s, and holds its host up."""
    found = some([0, 0], [3.0, 5.0], [[False, False], [True, True]])
    drained = done(found, a_host=1)
    assert drained.ended_s.tolist() == pytest.approx([1000, 1005])
    assert drained.sent_bytes.tolist() == pytest.approx([100_000, 500])
    assert drained.forced.tolist() == [True, False]


def test_a_stall_is_counted_after_one_pass() -> None:
    """50 bytes at 100 a second, then 20 s without progress."""
    found = some([0], [3.0], [[False, False]])
    assert done(found, a_host=1, stall_s=20.0).ended_s.tolist() == pytest.approx([20.5])


def test_alone_it_converges() -> None:
    """In twos it makes no progress; the other ends after 6 s, then it takes its 5 s and is not forced."""
    found = some([0, 0], [3.0, 5.0], [[True, True], [True, False]])
    drained = done(found, a_host=2, stall_s=20.0)
    assert drained.ended_s.tolist() == pytest.approx([6, 11])
    assert not drained.forced.any()
    assert drained.sent_bytes.tolist() == pytest.approx([300, 6 * 50 + 500])


def small(folder: Path) -> tuple[Spec, tuple[table.TraceFacts, ...], Path]:
    """Return a specification with two made traces, and a table of numbers that no simulation made."""
    spec = replace(
        SPEC, group=40, classes=(("uniform", 0.5), ("counters", 0.5)), used_gib=(1.0, 16.0),
        speeds=(0.0625, 1.0), migrations=(1, 8),
    )  # fmt: skip
    for load in (Load.UNIFORM, Load.COUNTERS):
        made(folder, load)
    traces = table.facts(spec, folder)
    rows = []
    for number, cell in enumerate(dict.fromkeys(table.cells(spec, traces))):
        rows.append(
            {
                "key": cell.key, "total_time_s": 1.0 + number % 7, "transferred_bytes": 1000 + number,
                "first_round_bytes": 600 + number,
                "downtime_s": 0.1 * (number % 5), "converged": number % 11 > 0,
            }
        )  # fmt: skip
    path = folder / "results.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return spec, traces, path


def test_every_guest_is_counted_once(tmp_path: Path) -> None:
    spec, traces, path = small(tmp_path)
    tasks = list(parts(spec, traces, str(path), 100, 2))
    assert [(task.draw, task.number, task.guests) for task in tasks] == [
        (0, 0, 40), (0, 1, 40), (0, 2, 20), (1, 0, 40), (1, 1, 40), (1, 2, 20),
    ]  # fmt: skip
    taken = {(task.draw, task.number): run_part(task) for task in tasks}
    found = ranges(spec, taken)
    assert len(found["scenarios"]) == len(scenarios(spec)) == 2 * 3 * 4
    for row in found["scenarios"]:
        assert row["guests"] == [100, 100, 100]
        assert row["forced"][2] <= row["over_guests"][2]
    for task in tasks:
        population = draw(spec, traces, task.draw, task.number, task.guests)
        assert len(population.host) == task.guests
        assert (np.diff(population.host) >= 0).all()
        held = np.bincount(population.host, population.memory_gib)
        assert held.max() <= spec.host_memory
        for each in taken[task.draw, task.number].sums:
            assert each.guests == task.guests
            assert len(each.hosts_s) == population.host[-1] + 1


def test_every_guest_ends_after_it_begins(tmp_path: Path) -> None:
    spec, traces, path = small(tmp_path)
    looked_up = table.load(str(path), spec, traces)
    population = draw(spec, traces, 0, 0, 40)
    for link, number, strategy in scenarios(spec):
        manager = spec.managers[number]
        found = guests(population, spec, looked_up, link, strategy, manager)
        limits = Limits(manager.a_host, manager.a_group, spec.hosts_at_once, manager.stall)
        drained = drain(found, np.array(spec.migrations, np.int64), limits)
        assert (drained.ended_s > drained.begun_s).all()
        assert (drained.sent_bytes > 0).all()
        for moment in drained.begun_s:
            running = (drained.begun_s <= moment) & (drained.ended_s > moment + 1e-6)
            assert manager.a_group == 0 or running.sum() <= manager.a_group
            assert manager.a_host == 0 or np.bincount(population.host[running]).max() <= manager.a_host
            assert len(np.unique(population.host[running])) <= spec.hosts_at_once


def test_a_part_is_its_numbers(tmp_path: Path) -> None:
    spec, traces, path = small(tmp_path)
    one = Part(spec, traces, str(path), 3, 7, 40)
    assert run_part(one) == run_part(one)
    assert run_part(one) != run_part(replace(one, number=8))
    assert run_part(one) != run_part(replace(one, draw=5))
    assert run_part(one) != run_part(replace(one, spec=replace(spec, seed=1)))


def test_sizes_come_from_the_data() -> None:
    rows = [(size, count) for size, count in SPEC.sizes]
    spec = replace(SPEC, classes=(("idle", 1.0),))
    facts = (table.TraceFacts("", "", 512 << 20, 128 << 20, 1e6, 0.5),)
    memory = draw(spec, facts, 0, 0, 20_000).memory_gib
    for size, count in rows:
        share = count / sum(each for _, each in rows)
        assert (memory == size).mean() == pytest.approx(share, abs=4 * (share / 20_000) ** 0.5)


def test_dirty_pages_grow_by_the_exponent() -> None:
    """128 MiB of 512 not zero dirty 1 MB/s; at 2 GiB and the exponent 1/2 that is 2 MB/s, times the pace."""
    spec = replace(
        SPEC, classes=(("idle", 1.0),), sizes=((2.0, 1),), exponents=(0.5,), paces=(4.0,), pace_shares=(1.0,),
        used=(0.5, 0.5), speeds=(0.5, 2.0), used_gib=(1.0, 4.0),
    )  # fmt: skip
    facts = (table.TraceFacts("", "", 512 << 20, 128 << 20, 1e6, 0.5),)
    population = draw(spec, facts, 0, 0, 4000)
    assert population.dirty_bps == pytest.approx(8e6)
    assert population.used_bytes == pytest.approx(1 * GIB)
    assert set(population.size.tolist()) == {0}
    # 1 GiB is 8 times the trace's memory and dirties 8 times its bytes: as recorded, between 1/2 and 2
    assert population.speed.mean() == pytest.approx(0.5, abs=0.04)


def test_a_large_guest_is_a_small_one_on_a_slower_link() -> None:
    facts = (table.TraceFacts("a", "b", 512 << 20, 128 << 20, 1e6, 0.5),)
    spec = replace(SPEC, classes=(("idle", 1.0),))
    by_place = dict(zip(np.ndindex(table.shape(spec)), table.cells(spec, facts), strict=True))
    cell = by_place[0, 1, 4, 0, 0, 1]
    assert (cell.scale, cell.speed, cell.strategy) == (64, 1.0, "kvm-default")
    assert cell.bandwidth_bps == round(1.25e9 * 0.9564 / 4 / 64)
    assert cell.options.scale == 64
    assert by_place[0, 1, 4, 0, 1, 1].parameters == (("cache_mib", 8.0),)
    zstd = by_place[0, 1, 4, 0, 2, 2]
    assert (zstd.strategy, zstd.bandwidth_bps) == ("kvm-default", round(1.25e9 * 0.9564 / 16 / 0.5 / 64))
    assert by_place[0, 1, 4, 0, 2, 0].bandwidth_bps == round(2 * 400e6 / 64), "its compressors are the limit"
    ours = by_place[0, 1, 4, 0, 3, 1]
    assert (ours.compress, ours.channels, 1 << ours.window_log) == ("auto", 2, (128 << 20) / 64)


def test_counted_are_those_that_still_ran(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "traces").mkdir()
    (tmp_path / "maps/flav_map.txt").write_text("1,1.75 a\n2,3.5 b\n4,3.5 c\n")
    for one, other in sizes.WINDOWS:
        (tmp_path / "traces" / one).write_text("300 a,|,b,c,|,\n600 a,|,\n")
        (tmp_path / "traces" / other).write_text("300 C4,|,C1,C2,|,\n600 U9,|,\n")
    sizes.main([str(tmp_path)])
    assert capsys.readouterr().out == '"1.75" = 2\n"3.5" = 4\n'


def test_what_cannot_be_studied(tmp_path: Path) -> None:
    text = (ROOT / "studies/fleet.toml").read_text()
    path = tmp_path / "fleet.toml"
    for old, new, said in (
        ("host_memory = 384", "host_memory = 64", "fits no host"),
        ("timeout = 1800", "timeout = 0", "never ends"),
        ("group = 1000", "", "broken specification"),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(UsageError, match=said):
            read(path)


@pytest.mark.slow
@pytest.mark.long
def test_two_workers_one_killed(tmp_path: Path) -> None:
    spec, traces, path = small(tmp_path)
    tasks = list(parts(spec, traces, str(path), 400, 3))
    killed: list[int] = []

    def kill(done: int, all_: int) -> None:
        pids = worker_pids()
        if done == 3 and not killed:
            assert len(pids) == 2
            os.kill(pids[0], signal.SIGKILL)
            killed.append(pids[0])

    taken = run(tasks, workers=2, progress=kill)
    assert killed
    assert taken == {(task.draw, task.number): run_part(task) for task in tasks}


@pytest.mark.slow
@pytest.mark.long
def test_the_whole_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two small traces, one size: simulated, drained, shown."""
    for load in (Load.UNIFORM, Load.COUNTERS):
        made(tmp_path, load)
    text = (ROOT / "studies/fleet.toml").read_text()
    begin, end = text.index("[classes.shares]"), text.index("# A guess: how")
    text = f'{text[:begin]}[classes.shares]\n"uniform" = 0.5\n"counters" = 0.5\n{text[end:]}'
    for old, new in (
        ("used_gib = [1.0, 8.0, 64.0]", "used_gib = [4.0]"),
        ("speeds = [0.0007, 0.004, 0.022, 0.13, 1.0]", "speeds = [0.0625]"),
        ("migrations = [1, 4, 16]", "migrations = [1, 8]"),
        ("group = 1000", "group = 100"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "fleet.toml").write_text(text)
    options = [
        "--spec",
        str(tmp_path / "fleet.toml"),
        "--traces",
        str(tmp_path),
        "--work",
        str(tmp_path / "work"),
    ]
    command.main(
        [*options, "--guests", "250", "--draws", "2", "--workers", "1", "--out", str(tmp_path / "out.json")]
    )
    told = capsys.readouterr()
    assert "6 of 6 groups of hosts emptied" in told.err
    found = json.loads((tmp_path / "out.json").read_text())
    assert {tuple(row["guests"]) for row in found["scenarios"]} == {(250, 250, 250)}
    assert 2 * 4 * 2 < found["migrations_simulated"] <= 2 * 2 * 4 * 2, "some are equal on both links"
    show.main([str(tmp_path / "out.json"), "--figure", str(tmp_path / "fleet.svg")])
    assert capsys.readouterr().out == told.out == show.markdown(found)
    assert told.out.count("| nova | `pagethrift` |") == 2
    assert (tmp_path / "fleet.svg").read_text().startswith("<?xml")

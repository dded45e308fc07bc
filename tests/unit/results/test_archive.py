"""Archives give back what was put in, and nothing but results or one line, whatever the file."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagethrift.errors import UsageError
from pagethrift.model.result import HostFacts, MigrationResult, Mode, Outcome, PageCounters, RoundRecord
from pagethrift.model.run_result import DiskCheck, LinkChange, LinkRecord, RamEquality, RunResult
from pagethrift.results import archive
from pagethrift.results.archive import ARCHIVE_SCHEMA, read_archive, write_archive
from pagethrift.results.result import Result
from tests.archives import RESULTS, runs
from tests.unit.report.samples import migration, result

WHOLE = st.integers(0, 2**53)
REAL = st.floats(0, 1e15)
WORD = st.text(st.characters(codec="utf-8"), max_size=20)
PLAIN = WORD | WHOLE | REAL | st.booleans()
TREE = st.recursive(
    PLAIN | st.none(), lambda t: st.lists(t, max_size=3) | st.dictionaries(WORD, t, max_size=3)
)


def optional(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | of


ROUND = st.builds(RoundRecord, WHOLE, REAL, WHOLE, WHOLE, st.builds(PageCounters, *[WHOLE] * 4), WHOLE)
MIGRATION = st.builds(
    MigrationResult,
    mode=st.sampled_from(Mode), strategy=WORD, outcome=st.sampled_from(Outcome), simulated=st.booleans(),
    began_unix_s=REAL, ended_unix_s=REAL, downtime_limit_s=REAL, total_time_s=REAL | WHOLE,
    downtime_s=optional(REAL), qemu_downtime_s=optional(REAL), blackout_s=optional(REAL),
    first_round_bytes=WHOLE, retransferred_bytes=WHOLE, transferred_bytes=WHOLE, stale_pages=optional(WHOLE),
    relay_cpu_s=optional(REAL), source_cpu_s=optional(REAL), relay_peak_rss_bytes=optional(WHOLE),
    one_pass_bound_s=optional(REAL), ratio=optional(REAL),
    parameters=st.dictionaries(WORD, PLAIN, max_size=3), features=st.dictionaries(WORD, PLAIN, max_size=3),
    converged=st.booleans(), forced_at_s=optional(REAL), switchover_reason=WORD,
    predicted_downtime_s=optional(REAL), error=WORD, warnings=st.lists(WORD, max_size=3).map(tuple),
    bandwidth_bps=optional(REAL | WHOLE), ram_bytes=WHOLE, pages=st.builds(PageCounters, *[WHOLE] * 4),
    rounds=st.lists(ROUND, max_size=3).map(tuple), source_qemu=WORD, destination_qemu=WORD, machine=WORD,
    accelerator=WORD, host=st.builds(HostFacts, WORD, WORD, WHOLE, WHOLE, WORD, WORD),
)  # fmt: skip
CHANGE = st.builds(LinkChange, REAL, optional(WHOLE))
RUN = st.builds(
    RunResult,
    scenario=WORD, mode=WORD, repetition=WHOLE, migration=MIGRATION,
    client=st.dictionaries(WORD, TREE, max_size=3), accelerator=WORD, lost_requests=WHOLE,
    ram=optional(st.builds(RamEquality, WHOLE, WHOLE, st.lists(WHOLE, max_size=3).map(tuple))),
    dirty_rate_bytes_per_s=optional(WHOLE),
    link=optional(
        st.builds(
            LinkRecord, optional(WHOLE), st.lists(CHANGE, max_size=2).map(tuple), REAL, WORD, WORD, WORD
        )
    ),
    cpu_s=optional(st.dictionaries(WORD, REAL, max_size=3)),
    peak_rss_bytes=optional(st.dictionaries(WORD, WHOLE, max_size=3)),
    disk=optional(st.builds(DiskCheck, st.booleans(), *[WHOLE] * 4)), settings_digest=WORD,
)  # fmt: skip


def small(folder: Path, *results: Result) -> Path:
    path = folder / "small.parquet"
    named = enumerate(results or (result(), result("pagethrift")))
    write_archive([(f"{number:02d}.json", each) for number, each in named], "study", path)
    return path


def rewritten(path: Path, **columns: Any) -> Path:
    """Put other columns into an archive."""
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, values)
    pq.write_table(table, path)
    return path


def refusal(path: Path) -> list[str]:
    """Return the one line with which an archive is refused, if it is."""
    try:
        list(read_archive(path, histograms=True))
    except UsageError as error:
        return [str(error)]
    return []


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(RUN | MIGRATION, min_size=1, max_size=3))
def test_every_field_comes_back(tmp_path: Path, results: list[Result]) -> None:
    found = list(read_archive(small(tmp_path, *results), histograms=True))
    assert [each.result for each in found] == results
    assert [each.file for each in found] == [f"{number:02d}.json" for number in range(len(results))]
    assert {each.folder for each in found} == {"study"}


@pytest.mark.parametrize(
    "path",
    [*sorted(RESULTS.glob("*.parquet")), *sorted(RESULTS.glob("faithful/*"))],
    ids=lambda path: path.stem,
)
def test_the_archives_of_the_project_are_read(path: Path) -> None:
    found = list(read_archive(path))
    if path.stem in ("all-rows", "parameters"):
        assert [each.result for each in found] == [None]
    else:
        assert len({each.file for each in found}) == len(found) > 3
        assert all(isinstance(each.result, RunResult) for each in found)


def test_histograms_are_null_unless_asked_for() -> None:
    (first, *_) = read_archive(RESULTS / "demo.parquet")
    assert isinstance(first.result, RunResult)
    assert first.result.client["latency_us_hdr"] is None
    assert runs("demo")[first.file].client["latency_us_hdr"].startswith("HIST")
    assert first.result.client["series"] == runs("demo")[first.file].client["series"]


def test_scalars_are_columns_to_ask(tmp_path: Path) -> None:
    table = pq.read_table(small(tmp_path))
    assert table.schema.field("total_time_s").type == pa.float64()
    assert table.schema.field("transferred_bytes").type == pa.int64()
    asked = table.select(["scenario", "mode", "repetition", "migration_mode", "outcome", "total_time_s"])
    assert asked.to_pylist()[1] == {
        "scenario": "small", "mode": "pagethrift", "repetition": 0, "migration_mode": "relay",
        "outcome": "completed", "total_time_s": 10.0,
    }  # fmt: skip


def test_fields_that_an_archive_lacks_are_as_in_a_file_without_them(tmp_path: Path) -> None:
    path = small(tmp_path, result(settings_digest="x", dirty_rate_bytes_per_s=5))
    pq.write_table(pq.read_table(path).drop_columns(["settings_digest", "dirty_rate_bytes_per_s"]), path)
    (found,) = read_archive(path)
    assert found.result == result()


@pytest.mark.parametrize(
    "broken",
    [
        migration(total_time_s="long"), migration(transferred_bytes=2**70), migration(source_qemu="\ud800"),
        migration(first_round_bytes=1.5), result(client={"x": float("nan")}),
    ],
    ids=["text", "large", "surrogate", "fraction", "no number"],
)  # fmt: skip
def test_what_would_not_come_back_is_not_written(tmp_path: Path, broken: Result) -> None:
    kept = small(tmp_path).read_bytes()
    with pytest.raises(UsageError):
        small(tmp_path, broken)
    assert [path.name for path in tmp_path.iterdir()] == ["small.parquet"]
    assert (tmp_path / "small.parquet").read_bytes() == kept


def test_nowhere_to_write(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        small(tmp_path / "none")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"total_time_s": pa.array(["1", "2"])}, "column total_time_s must be one of double"),
        ({"schema": pa.array(["other", "other"])}, "unknown schema, other"),
        ({"schema": pa.array([None, None], pa.string())}, "unknown schema, None"),
        ({"client": pa.array(["{", "[" * 100_000])}, "00.json is not a result"),
        ({"rounds": pa.array(["5", "5"])}, "not a migration result"),
        ({"warnings": pa.array([None, None], pa.string())}, "not a migration result"),
        ({"outcome": pa.array(["lost", "lost"])}, "'lost' is not a valid Outcome"),
        ({"histograms": pa.array([b"x", b"y"])}, "00.json: broken histograms"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_broken_rows_are_named(tmp_path: Path, columns: dict[str, Any], words: str) -> None:
    path = rewritten(small(tmp_path), **columns)
    with pytest.raises(UsageError, match=words) as caught:
        list(read_archive(path, histograms=True))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, "another version"),
        ({"rows": {"pagethrift-run": 2}}, "another version"),
        ({"schema": "x"}, "another version"),
    ],
)
def test_other_versions_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = small(tmp_path)
    table = pq.read_table(path)
    told = json.loads(table.schema.metadata[ARCHIVE_SCHEMA.encode()]) | changes
    pq.write_table(table.replace_schema_metadata({ARCHIVE_SCHEMA: json.dumps(told)}), path)
    with pytest.raises(UsageError, match=words):
        list(read_archive(path))


@pytest.mark.parametrize("name", ["schema", "file"])
def test_columns_that_must_be_there(tmp_path: Path, name: str) -> None:
    path = small(tmp_path)
    pq.write_table(pq.read_table(path).drop_columns([name]), path)
    with pytest.raises(UsageError, match=f"no column {name}"):
        list(read_archive(path))


@pytest.mark.slow
def test_a_short_file_that_claims_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = rewritten(small(tmp_path), client=pa.array([json.dumps("x" * (33 << 20))] * 2))
    assert path.stat().st_size < 3_000_000
    with pytest.raises(UsageError, match="larger than 32 MiB"):
        list(read_archive(path))
    # one megabyte in the file's dictionary, two in its rows
    path = rewritten(path, client=pa.array([json.dumps("x" * 1_000_000)] * 2))
    monkeypatch.setattr(archive, "LARGEST_CONTENT_BYTES", 1_500_000)
    with pytest.raises(UsageError, match="MiB of results"):
        list(read_archive(path))
    monkeypatch.setattr(archive, "MOST_RESULTS", 1)
    with pytest.raises(UsageError, match="at most 1 results"):
        list(read_archive(path))
    monkeypatch.setattr(archive, "LARGEST_ARCHIVE_BYTES", 100)
    with pytest.raises(UsageError, match="not an archive"):
        list(read_archive(path))


def test_whatever_the_bytes_it_is_results_or_one_line(tmp_path: Path) -> None:
    whole = small(tmp_path, runs("unshaped")["unshaped.plain.00.json"], migration()).read_bytes()
    path, rng = tmp_path / "broken.parquet", random.Random(7)
    lines: list[str] = []
    for number in range(150):
        content = bytearray(whole)
        if number % 3:
            for _ in range(rng.choice([1, 3])):
                content[rng.randrange(len(whole) // 2, len(whole))] = rng.randrange(256)
        else:
            del content[rng.randrange(len(content)) :]
        path.write_bytes(content)
        lines += refusal(path)
    assert all("broken.parquet" in line and "\n" not in line for line in lines)
    assert len(lines) > 75

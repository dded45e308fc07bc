"""Result files of lab runs, old and new."""

import json
from pathlib import Path

import pytest

from pagethrift.errors import UsageError
from pagethrift.lab.run_files import read_run, write_run
from pagethrift.model.result import MigrationResult, Mode, Outcome
from pagethrift.model.run_result import DiskCheck, LinkChange, LinkRecord, RamEquality, RunResult
from tests.archives import runs

MIGRATION = MigrationResult(Mode.RELAY, "pagethrift", Outcome.COMPLETED, False, 0.0, 1.0, 0.3, 1.0)


def test_every_field_survives_the_file(tmp_path: Path) -> None:
    whole = RunResult(
        "s", "pagethrift", 0, MIGRATION, {"phases": []}, "tcg", 0,
        ram=RamEquality(4096, 0, ()),
        link=LinkRecord(None, (LinkChange(1.0, 10), LinkChange(2.0, None)), 0.01, "netem", "ssh", "OpenSSH"),
        cpu_s={"vcpu": 1.5}, peak_rss_bytes={"source": 7}, disk=DiskCheck(True, 3, 0, 3, 99),
    )  # fmt: skip
    write_run(whole, tmp_path / "r.json")
    assert read_run(tmp_path / "r.json") == whole


@pytest.mark.parametrize("name", ["demo.plain.00.json", "demo.pagethrift.ram-check.json"])
def test_files_from_before_the_optional_fields_are_read(name: str, tmp_path: Path) -> None:
    whole = runs("demo")[name]
    data = json.loads(whole.to_json())
    for name in ("link", "cpu_s", "peak_rss_bytes", "disk"):
        data.pop(name, None)
    (tmp_path / "old.json").write_text(json.dumps(data))
    old = read_run(tmp_path / "old.json")
    assert old.link is None
    assert old.cpu_s is None
    assert old.disk is None
    assert whole.migration == old.migration


def test_a_broken_field_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_run(RunResult("s", "plain", 0, MIGRATION, {}, "tcg", 0), path)
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "disk": {"clean": True}}))
    with pytest.raises(UsageError, match=r"r\.json: not a run result: "):
        read_run(path)

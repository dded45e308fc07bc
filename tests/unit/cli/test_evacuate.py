"""``pagethrift evacuate`` before anything moves; tests/qemu/live/test_evacuate.py has the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pagethrift.cli import evacuate
from pagethrift.errors import GuestError, UsageError

PLAN = """
bandwidth = "1Gbit"
deadline = "10min"
[[guest]]
name = "known"
qmp = "{folder}/none.qmp"
to = "h:1"
memory = "1GiB"
dirty_rate = "10MB/s"
[[guest]]
name = "unknown"
qmp = "{folder}/nobody.qmp"
to = "h:2"
"""


def call(path: Path, *more: str) -> Result:
    return CliRunner().invoke(evacuate.app, [str(path), *more], catch_exceptions=False)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "host.toml"
    path.write_text(PLAN.format(folder=tmp_path))
    return path


def test_a_dry_run_plans_what_it_knows_also_where_nobody_answers(plan: Path) -> None:
    done = call(plan, "--dry-run", "--json")
    assert done.exit_code == GuestError.exit_code
    said = json.loads(done.stdout.splitlines()[0])
    assert [each["name"] for each in said["guests"]] == ["known"]
    assert said["last_out_s"] > 8
    for name in ("known", "unknown"):
        assert f"{name}: in doubt" in done.stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("deadline =", "deadlines ="), "deadline is missing"),
        (('name = "unknown"', 'name = "unknown"\ncolour = "red"'), "unknown key guest[1].colour"),
        (("[[guest]]", "[[guest]"), "is not TOML"),
    ],
)
def test_what_is_wrong_in_a_plan_names_the_file(plan: Path, change: tuple[str, str], says: str) -> None:
    plan.write_text(plan.read_text().replace(*change))
    with pytest.raises(UsageError) as error:
        call(plan, "--dry-run")
    assert str(error.value).startswith(str(plan))
    assert says in str(error.value)

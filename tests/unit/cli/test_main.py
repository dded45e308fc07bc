"""The command line's front: groups, names and what is said when an extra is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pagethrift.cli.exits import EXTRAS
from pagethrift.cli.main import COMMANDS
from tests.documents import README
from tests.unit.report.samples import migration


def run(*arguments: str, program: str = "") -> subprocess.CompletedProcess[str]:
    program += "\nfrom pagethrift.cli.main import main\nmain()"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "100"}
    )


def test_help_has_a_line_for_each_command_in_its_group() -> None:
    said = run("--help").stdout
    lines = [line.strip("│ ") for line in said.splitlines()]
    for name, (group, _, summary) in COMMANDS.items():
        assert re.search(rf"─ {group} ─", said)
        assert f"{name:10}  {summary}" in lines
    shown = [line.split()[0] for line in lines if line and line.split()[0] in COMMANDS]
    assert shown == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name: str) -> None:
    done = run(name, "--help")
    assert done.returncode == 0
    assert f"Usage: pagethrift {name}" in done.stdout
    assert "Example: pagethrift" in done.stdout
    # What a word points at stands beside it.
    assert re.findall(r"\b(then|there)\b", done.stdout) == []


def test_readme_names_the_commands_in_groups_and_in_this_order() -> None:
    section = README.read_text().partition("## All commands")[2].partition("\n## ")[0]
    told: dict[str, str] = {}
    for group, words in re.findall(r"^\* \*\*(\w+)\*\*: ((?:.+\n)+?)(?=\* |\n)", section, re.MULTILINE):
        told |= dict.fromkeys(re.findall(r"`pagethrift (\w+)", words), group)
    assert list(told.items()) == [(name, group) for name, (group, _, _) in COMMANDS.items()]


@pytest.mark.parametrize(
    ("absent", "arguments"),
    [("psutil", ("lab", "doctor")), ("jinja2", ("report", "one.json", "--out", "report.html"))],
)
def test_a_missing_extra_is_named(absent: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert arguments[0] in EXTRAS
    (tmp_path / "one.json").write_text(migration().to_json())
    done = run(
        *arguments, program=f"import os, sys\nos.chdir({str(tmp_path)!r})\nsys.modules[{absent!r}] = None"
    )
    assert done.returncode == 2
    name = arguments[0]
    expected = f"pagethrift {name} needs the {name} extra: pip install '.[{name}]' in its sources"
    assert done.stderr == f"{expected} ({absent} is not installed)\n"

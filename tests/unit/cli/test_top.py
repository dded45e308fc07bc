"""The table of what runs, and the list for programs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pagethrift.cli.top import COLUMNS, as_data, table
from pagethrift.model.running import RunKind, Running
from pagethrift.outside.finding import Found
from tests.unit.outside.sockets import status_socket, use

RUNNING = Running(
    "one",
    RunKind.MIGRATE,
    pid=os.getpid(),
    guest="[red]vm1\x1b[31m",
    state="active",
    round=3,
    in_bytes=1_000_000,
    out_bytes=400_000,
    unsent_bytes=50_000,
    link_bps=12_500_000.0,
    predicted_downtime_s=0.184,
    began_unix_s=1000.0,
)


def drawn(*found: Found) -> str:
    text = io.StringIO()
    Console(file=text, width=200).print(table(list(found), 1000.0 + 3725))
    return text.getvalue()


def test_a_row() -> None:
    text = drawn(Found(Path("/run/x"), RUNNING.pid, RUNNING))
    head, row = text.splitlines()
    assert head.split() == list(COLUMNS)
    for word in ("one", "active", " 3 ", "1 MB", "400 kB", "0.40", "100 Mbit/s", "4 ms", "184 ms", "1:02:05"):
        assert word in row
    assert "[red]vm1" in row, "a name is no markup"
    assert "\x1b" not in text
    assert "MB" in row.split("184 ms")[1], "memory of this process"


def test_what_is_not_known_is_left_empty() -> None:
    row = drawn(Found(Path("/run/x"), 1, Running("two"))).splitlines()[1]
    assert "None" not in row
    assert "Mbit" not in row


def test_one_that_does_not_answer_and_none_at_all() -> None:
    assert "does not answer" in drawn(Found(Path("/run/x"), 1, None))
    assert "nothing runs here" in drawn()


def test_data_for_programs() -> None:
    data = as_data(Found(Path("/run/x"), RUNNING.pid, RUNNING))
    assert (data["id"], data["queue_s"], data["ratio"], data["answers"]) == ("one", 0.004, 0.4, True)
    assert data["rss_bytes"] > 1 << 20
    assert as_data(Found(Path("/run/x"), 0, None)) == {"pid": 0, "answers": False, "rss_bytes": 0}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys, pathlib, pagethrift.state_folder as s\n"
        f"s.ROOTS = pathlib.Path({os.environ['XDG_RUNTIME_DIR']!r}) / 'pagethrift'\n"
        "from pagethrift.cli.main import main\nmain()"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60
    )


def test_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(folder, monkeypatch)
    with status_socket(RUNNING, kind=RunKind.MIGRATE):
        found = json.loads(run("top", "--json").stdout)
        assert [each["id"] for each in found if each["answers"]] == ["one"]
        done = run("top")
        assert done.returncode == 0
        assert "184 ms" in done.stdout, "no terminal: once, and wide enough"
    refused = run("top", "--interval", "0")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)

"""The command line of ``pagethrift migrate``: help, refusals and exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pagethrift", "migrate", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_help_has_an_example_and_the_exit_codes() -> None:
    text = " ".join(run("--help").stdout.split())
    assert "Example: pagethrift migrate --qmp" in text
    assert "130 interrupted" in text
    for option in ("--to", "--force-after", "--downtime-limit", "--plain", "--out", "--json"):
        assert option in text


def test_help_says_what_leaving_out_the_destinations_monitor_risks() -> None:
    text = " ".join(run("--help").stdout.split())
    assert "Without --destination-qmp, pagethrift can neither ask the destination nor start it." in text
    assert "both guests may run, or pagethrift cannot say where the guest runs" in text
    assert "Start the destination with -S, and give its monitor." in text


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["--to", "h:1", "--qmp", "/nowhere.qmp"], 5, "does not exist"),
        (["--to", "h:1", "--qmp", "/q", "--downtime-limit", "soon"], 2, "'soon' is not a duration"),
        (["--to", "here", "--qmp", "/q"], 2, "not an address"),
        (["--to", "h:1", "--qmp", "/q", "--strategy", "magic"], 2, "no strategy 'magic'"),
        (["--to", "h:1", "--qmp", "/q", "--strategy", "kvm-post-copy"], 2, "use --plain --post-copy"),
        (["--to", "h:1", "--qmp", "/q", "--strategy", "wang"], 2, "needs the guest's consent"),
        (["--to", "h:1", "--qmp", "/q", "--stop", "soon"], 2, "no stop rule 'soon'"),
        (["--to", "h:1", "--qmp", "/q", "--stop", "auto-converge"], 2, "use --plain --auto-converge"),
        (["--to", "h:1", "--qmp", "/q", "--xbzrle-cache", "512MiB"], 2, "add --plain"),
        (["--to", "h:1", "--qmp", "/q", "--out", "/nowhere/r.json"], 2, "--out /nowhere/r.json"),
        (["--to", "h:1", "--qmp", "/q", "--plain", "--max-bandwidth", "0"], 5, "does not exist"),
    ],
)
def test_refusals(argv: list[str], code: int, message: str) -> None:
    done = run(*argv)
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_refused_migration_leaves_no_result_behind(tmp_path: Path) -> None:
    run("--to", "h:1", "--qmp", str(tmp_path / "none"), "--out", str(tmp_path / "r.json"))
    assert not (tmp_path / "r.json").exists()

"""The command line of ``pagethrift libvirt``: help and refusals; tests/libvirt migrates."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pagethrift.cli.libvirt import REFUSED


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pagethrift", "libvirt", *argv]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"COLUMNS": "100"}
    )


def test_help_has_an_example_the_exit_codes_and_virshs_options() -> None:
    text = " ".join(run("migrate", "--help").stdout.split())
    assert "Example: pagethrift libvirt migrate vm1 qemu+ssh://host2/system" in text
    assert "10 a libvirt refused" in text
    for option in ("--persistent", "--undefinesource", "--suspend", "--unsafe", "--abort-on-error"):
        assert option in text
    for option in ("--connect", "--to", "--listen-address", "--downtime-limit", "--force-after", "--out"):
        assert option in text


@pytest.mark.parametrize("name", REFUSED)
def test_options_of_virshs_that_cannot_be_had_say_why(name: str) -> None:
    option = f"--{name.replace('_', '-')}"
    done = run("migrate", "vm1", "qemu+ssh://host2/system", option)
    assert done.returncode == 2
    assert done.stderr == f"pagethrift: {option}: {REFUSED[name]}\n"
    assert option not in run("migrate", "--help").stdout


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--downtime-limit", "soon"], "'soon' is not a duration"),
        (["--strategy", "magic"], "no strategy 'magic'"),
        (["--parallel-connections", "2"], "is for --parallel"),
        (["--undefinesource"], "give --persistent too"),
        (["--out", "/nowhere/r.json"], "--out /nowhere/r.json"),
        (["--to", "here"], "not an address"),
    ],
)
def test_refusals(argv: list[str], message: str) -> None:
    done = run("migrate", "vm1", "qemu+ssh://host2/system", *argv)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_destination_without_a_host_is_refused() -> None:
    done = run("migrate", "vm1", "qemu:///system")
    assert done.returncode == 2
    assert "names no host" in done.stderr

"""``pip install 'pagethrift[lab]'``: the lab examines this machine and knows its commands."""

from __future__ import annotations

import json

import pytest

from tests.install.conftest import ROOT, Installed

EXTRA = "lab"


def test_the_doctor_examines_this_machine(installed: Installed) -> None:
    done = installed.run("lab", "doctor", "--json")
    checks = json.loads(done.stdout)
    assert {"root", "memcached", "memory"} <= {check["name"] for check in checks}
    missing = any(check["status"] == "missing" for check in checks)
    assert done.returncode == (6 if missing else 0), done.stderr.decode()


@pytest.mark.parametrize("command", ["run", "compare", "record"])
def test_help(installed: Installed, command: str) -> None:
    assert f"pagethrift lab {command}" in installed.ok("lab", command, "--help").decode()


def test_a_mode_that_does_not_exist_is_refused(installed: Installed) -> None:
    """The scenario is read before that, with all that reads it."""
    done = installed.run("lab", "run", ROOT / "scenarios/demo.toml", "--mode", "teleport", "--out", "results")
    assert done.returncode == 2
    assert "teleport" in done.stderr.decode()
    assert len(done.stderr.decode().splitlines()) == 1

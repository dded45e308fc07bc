"""The oldest versions that pyproject.toml allows: its lower bounds are true."""

from __future__ import annotations

import json
import lzma
import sys
import tomllib

import numpy as np
import pytest

from pagethrift.stream.image import image
from tests.install.conftest import ROOT, Installed

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        sys.version_info >= (3, 12),
        reason="the lower bounds are those of Python 3.11; later ones need newer wheels",
    ),
]

EXTRA = "lab,report,sweep"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = [
    requirement.partition(",")[0].replace("[distributed]", "").replace(">=", "==")
    for requirements in (
        PROJECT["dependencies"],
        *(PROJECT["optional-dependencies"][name] for name in EXTRA.split(",")),
    )
    for requirement in requirements
]


def test_thin(installed: Installed) -> None:
    stream = lzma.decompress((ROOT / "tests/golden/qemu-10.0-q35.xz").read_bytes())
    thinned = installed.ok("thin", input=stream)
    assert np.array_equal(image(thinned).memory, image(stream).memory)


@pytest.mark.parametrize("command", ["migrate", "relay", "record", "inspect", "replay", "strategies"])
def test_help(installed: Installed, command: str) -> None:
    assert f"pagethrift {command}" in installed.ok(command, "--help").decode()


def test_sweep(installed: Installed) -> None:
    (installed.folder / "sweep.toml").write_text(
        f'traces = ["{ROOT}/traces/idle.parquet"]\nbandwidths = ["1Gbit"]\nstrategies = [{{ name = "hu" }}]\n'
    )
    done = json.loads(installed.ok("sweep", "sweep.toml", "--json").splitlines()[-1])
    assert done == {"type": "result", "path": "sweep/results.parquet", "cells": 1}


def test_simulate_and_report(installed: Installed) -> None:
    installed.ok("simulate", ROOT / "traces/idle.parquet", "--bandwidth", "1Gbit", "--out", "one.json")
    installed.ok("report", "one.json", "--out", "page.html")
    assert "<svg" in (installed.folder / "page.html").read_text()


def test_doctor(installed: Installed) -> None:
    assert json.loads(installed.run("lab", "doctor", "--json").stdout)

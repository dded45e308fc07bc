"""SimGrid itself: a small C++ program over its live-migration plugin, compiled when it is needed."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from scripts.studies.scalar.formulas import HORIZON_S, NEVER, Prediction, Scalars

from pagethrift.errors import UsageError

SOURCE = Path(__file__).with_name("precopy.cpp")
HEADERS = (Path("/usr/include"), Path("/usr/local/include"))
PLUGIN = "simgrid/plugins/live_migration.h"
NEEDS = "SimGrid and a C++ compiler: as root run apt-get install --no-install-recommends libsimgrid-dev g++"
BUILD_S = 300.0
RUN_S = 60.0


@dataclass(frozen=True, slots=True)
class Migration:
    """What the plugin said, and which plugin it was."""

    prediction: Prediction
    simgrid: str
    """version"""
    max_downtime_s: float
    """the limit that the plugin used"""


def missing() -> str:
    """Return what this machine lacks for the program, in words; empty when nothing is missing."""
    there = any((folder / PLUGIN).exists() for folder in HEADERS)
    return "" if there and shutil.which("g++") else NEEDS


def build(folder: Path) -> Path:
    """Compile the program into a folder and return it. Raises UsageError."""
    if lacks := missing():
        raise UsageError(f"the study needs {lacks}")
    program = folder / "precopy"
    command = ["g++", "-std=c++17", "-O1", str(SOURCE), "-lsimgrid", "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BUILD_S)
    if done.returncode:
        raise UsageError(
            f"{SOURCE.name} does not compile: {(done.stderr.strip() or 'g++ failed').splitlines()[0]}"
        )
    return program


def migrate(program: Path, guest: Scalars, horizon_s: float = HORIZON_S) -> Migration:
    """Return the plugin's migration of a guest. Raises UsageError."""
    numbers = (guest.ram_bytes, guest.dirty_bps, guest.working_set_bytes, guest.link_bps, horizon_s)
    command = [str(program), *(f"{each:.6f}" for each in numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=RUN_S)
    if done.returncode:
        raise UsageError(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    told = json.loads(done.stdout)
    prediction = Prediction(told["total_time_s"], told["downtime_s"], told["sent_bytes"])
    return Migration(
        NEVER if prediction.total_time_s is None else prediction, told["simgrid"], told["max_downtime_s"]
    )

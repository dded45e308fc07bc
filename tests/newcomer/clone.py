"""From a clean clone to the first report, with the commands of docs/tutorial.md."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.documents import ROOT, fenced
from tests.newcomer.how_to import Step

TUTORIAL = ROOT / "docs/tutorial.md"
SECTIONS = ("1. Install", "2. A migration without a guest", "3. A real guest", "4. The report")


def tutorial(folder: Path, said: Callable[[Step], None]) -> list[Step]:
    """Clone the project into a folder and type what the tutorial shows; RuntimeError when a command fails."""
    steps = [_timed("clone", f"git clone --quiet {ROOT} {folder}", folder.parent, said)]
    entered = ""
    for section in SECTIONS:
        text = "\n".join(fenced(TUTORIAL, section))
        steps.append(_timed(section, f"{entered}{text}", folder, said))
        entered = ". .venv/bin/activate\n"
    return steps


def package(folder: Path, said: Callable[[Step], None]) -> tuple[Step, Path]:
    """Make the Debian package in a clone."""
    step = _timed("make deb", "make deb", folder, said)
    (path,) = (folder / "build").glob("pagethrift_*_amd64.deb")
    return step, path


def _timed(name: str, script: str, folder: Path, said: Callable[[Step], None]) -> Step:
    began_s = time.monotonic()
    done = subprocess.run(
        ["bash", "-ec", script],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {(done.stdout + done.stderr).strip()[-2000:]}")
    step: Step = {"step": name, "seconds": round(time.monotonic() - began_s, 1)}
    said(step)
    return step

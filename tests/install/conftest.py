"""Clean virtual environments with what ``pip install 'pagethrift[EXTRA]'`` brings, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
# no sources of this tree and no settings of its environment in a clean one
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PAGETHRIFT"))}
INSTALL_S, COMMAND_S = 280, 120


@dataclass(frozen=True, slots=True)
class Installed:
    """A clean environment and a folder to work in."""

    binaries: Path
    folder: Path

    def run(self, *arguments: str | Path, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run the installed ``pagethrift`` as a person does; returns its output and exit code."""
        return subprocess.run(
            self.command(*arguments), input=input, cwd=self.folder, env=CLEAN, capture_output=True,
            timeout=COMMAND_S, check=False,
        )  # fmt: skip

    def command(self, *arguments: str | Path) -> list[str | Path]:
        """Return the command line, for processes that a test starts itself."""
        return [self.binaries / "pagethrift", *arguments]

    def ok(self, *arguments: str | Path, input: bytes | None = None) -> bytes:
        """Return the standard output of a command that must succeed."""
        done = self.run(*arguments, input=input)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("install")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree as a wheel; skips, saying so, where pip can fetch no packages."""
    folder = tmp_path_factory.mktemp("wheel")
    probe: list[str | Path] = [
        *PIP,
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        folder / "probe",
        "hatchling",
    ]
    found = subprocess.run(probe, env=CLEAN, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    if found.returncode:
        pytest.skip(f"PIP FETCHES NOTHING HERE, so no install is tested: {found.stderr.strip()[-200:]}")
    subprocess.run(
        [*PIP, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT],
        env=CLEAN, check=True, timeout=INSTALL_S,
    )  # fmt: skip
    return next(folder.glob("pagethrift-*.whl"))


@pytest.fixture(scope="module")
def installed(request: pytest.FixtureRequest, wheel: Path) -> Iterator[Installed]:
    """``pagethrift[EXTRA]`` in an environment of its own; the test module names its EXTRA ("": the base).

    Its CONSTRAINTS, if it has any, are the versions that may be installed.
    """
    extra = request.module.EXTRA
    constraints: list[str] = getattr(request.module, "CONSTRAINTS", [])
    with tempfile.TemporaryDirectory(prefix="pti") as name:  # half a gigabyte: not kept as tmp_path is
        venv, work, versions = Path(name) / "venv", Path(name) / "work", Path(name) / "constraints.txt"
        work.mkdir()
        versions.write_text("".join(f"{line}\n" for line in constraints))
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], env=CLEAN, check=True)
        # not compiling saves a third of the time; the commands compile the few modules they load
        subprocess.run(
            [*PIP, "--python", venv / "bin/python", "install", "--quiet", "--no-compile",
             "--constraint", versions, f"{wheel}[{extra}]" if extra else wheel],
            env=CLEAN, check=True, timeout=INSTALL_S,
        )  # fmt: skip
        yield Installed(venv / "bin", work)

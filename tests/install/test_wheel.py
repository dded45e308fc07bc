"""Sources, sdist, wheel with kernels, install: an ordinary user starts ``thin`` without compiler or Numba.

On each Python that pyproject.toml names, where there is one.
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL

import numpy as np
import pytest

from pagethrift.kernels import machine_code
from pagethrift.stream.image import image
from tests.install.conftest import CLEAN, COMMAND_S, INSTALL_S, PIP, ROOT

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="WHEELS HAVE KERNELS FOR x86_64 ONLY")

LANGUAGE = "Programming Language :: Python :: "
CLASSIFIERS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
PYTHONS = [line.removeprefix(LANGUAGE) for line in CLASSIFIERS if line.startswith(LANGUAGE)]
THIN = """
import sys
from pagethrift.cli.main import main
sys.argv = ["pagethrift", "thin"]
try:
    main()
finally:
    print(*sorted({"numba", "llvmlite"} & set(sys.modules)), "loaded", file=sys.stderr)
"""


def interpreter(version: str) -> str | None:
    """Return a Python of this version that can make environments: this one, of PATH or of pyenv."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    paths = (shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python{version}")))
    probe = ["-c", "import venv"]
    runs = (path for path in paths if path and subprocess.call([path, *probe], stderr=DEVNULL) == 0)
    return next((str(path) for path in runs), None)


def pip(folder: Path, *arguments: str | Path, **more: str) -> None:
    """Run this Python's pip for the environment in ``folder``."""
    command = [*PIP, "--python", folder / "venv/bin/python", *arguments]
    subprocess.run(command, env=CLEAN | more, check=True, timeout=INSTALL_S)


@pytest.fixture(scope="module")
def sdist(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources as they would be published. (``wheel`` skips where pip fetches nothing.)"""
    folder = tmp_path_factory.mktemp("sdist")
    subprocess.run(
        [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder, ROOT],
        env=CLEAN, check=True, stdout=sys.stderr, timeout=INSTALL_S,
    )  # fmt: skip
    return next(folder.glob("pagethrift-*.tar.gz"))


@pytest.fixture(
    scope="module",
    params=[PYTHONS[0], *(pytest.param(version, marks=pytest.mark.long) for version in PYTHONS[1:])],
)
def folder(request: pytest.FixtureRequest, sdist: Path) -> Iterator[Path]:
    """An environment with the lock's versions of what pagethrift needs, and its wheel beside it."""
    python = interpreter(request.param)
    if python is None:
        pytest.skip(f"NO PYTHON {request.param} HERE, so nothing is tested on it")
    with tempfile.TemporaryDirectory(prefix="ptw") as name:
        folder = Path(name)
        folder.chmod(0o755)
        subprocess.run([python, "-m", "venv", "--without-pip", folder / "venv"], env=CLEAN, check=True)
        pip(folder, "install", "--quiet", "--constraint", constraints(folder), "hatchling", sdist)
        pip(
            folder, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, sdist,
            PAGETHRIFT_KERNELS="1",
        )  # fmt: skip
        pip(folder, "install", "--quiet", "--no-deps", "--force-reinstall", next(folder.glob("*.whl")))
        yield folder


def constraints(folder: Path) -> Path:
    """Write the lock without its hashes: they would be asked of the project's own sources too."""
    path = folder / "constraints.txt"
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    path.write_text("\n".join(line.rstrip(" \\") for line in lines if not line.startswith(" ")))
    return path


def test_the_sdist_has_what_builds_and_no_results(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"hatch_build.py", "pyproject.toml", "requirements.lock", "LICENSE", "README.md"} <= names
    assert {f"src/pagethrift/{path.name}" for path in machine_code.PACKAGE.glob("*.py")} <= names
    assert not [name for name in names if name.startswith(("docs/", "tests/", "traces/", "build"))]


def test_the_wheel_is_of_one_python_and_has_kernels(folder: Path) -> None:
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.endswith("-linux_x86_64.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert len([name for name in names if name.startswith("pagethrift/_kernels/")]) == 1
    assert "hatch_build.py" not in names


def test_a_user_who_can_write_nothing_thins_without_numba(folder: Path) -> None:
    if not machine_code.is_portable(Path("/proc/cpuinfo").read_text(), os.uname().machine):
        pytest.skip(f"THIS PROCESSOR IS BELOW {machine_code.PORTABLE}, so the wheel's kernels are not used")
    stream = lzma.decompress((ROOT / "tests/golden/qemu-10.0-q35.xz").read_bytes())
    command: list[str | Path] = [folder / "venv/bin/python", "-c", THIN]
    if os.geteuid() == 0:
        may_read = [f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")]
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *may_read, "--", *command]
    else:
        subprocess.run(["chmod", "-R", "a-w", folder / "venv"], check=True)
    try:
        done = subprocess.run(
            command, input=stream, env=CLEAN | {"HOME": "/nonexistent"}, cwd="/", capture_output=True,
            timeout=COMMAND_S, check=False,
        )  # fmt: skip
    finally:
        subprocess.run(["chmod", "-R", "u+w", folder / "venv"], check=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr.split()[-1:] == [b"loaded"]
    assert b"numba" not in done.stderr
    assert np.array_equal(image(done.stdout).memory, image(stream).memory)


def test_simulate_compiles_with_numba(folder: Path) -> None:
    path, trace = folder / "result.json", ROOT / "traces/idle.parquet"
    subprocess.run(
        [folder / "venv/bin/pagethrift", "simulate", trace, "--bandwidth", "1Gbit", "--out", path],
        env=CLEAN, check=True, capture_output=True, timeout=COMMAND_S,
    )  # fmt: skip
    assert json.loads(path.read_text())["outcome"] == "completed"

"""Fixtures of the driver's tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.qemu.machines import QemuLike, find_qemu
from tests.unit.live.machines import Pair, running_pair


@pytest.fixture(scope="session", params=("7.2", "10.0"))
def binary(request: pytest.FixtureRequest) -> QemuLike:
    """Each QEMU version in turn."""
    found = find_qemu(request.param)
    if found is None:
        pytest.skip(
            f"NO QEMU {request.param} HERE: the driver is not tested on it; apt install qemu-system-x86"
        )
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: a unix socket's path ends at 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="ptl"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def pair(binary: QemuLike, folder: Path) -> Iterator[Pair]:
    """A running source and a waiting destination."""
    with running_pair(binary, folder) as started:
        yield started

"""Fixtures of the driver's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.qemu.live.pair import Pair, running_pair
from tests.qemu.machines import SERIES, QemuLike, find_qemu


@pytest.fixture(scope="session", params=SERIES)
def binary(request: pytest.FixtureRequest) -> QemuLike:
    """Each QEMU version in turn."""
    found = find_qemu(request.param)
    if found is None:
        pytest.skip(
            f"NO QEMU {request.param} HERE: the driver is not tested on it; apt install qemu-system-x86"
        )
    return found


@pytest.fixture
def pair(binary: QemuLike, folder: Path) -> Iterator[Pair]:
    """A running source and a waiting destination."""
    with running_pair(binary, folder) as started:
        yield started

"""Fixtures of the tests on real QEMUs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.qemu.machines import SERIES, QemuLike, find_qemu


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("qemu")
            if item.get_closest_marker("one_qemu") and not _on_the_one(item):
                item.add_marker("long")


def _on_the_one(item: pytest.Item) -> bool:
    found = getattr(item, "callspec", None)
    values = {} if found is None else found.params
    return all(values.get(name, "10.0") == "10.0" for name in ("binary", "qemu_binary"))


@pytest.fixture(scope="session", params=SERIES)
def qemu_binary(request: pytest.FixtureRequest) -> QemuLike:
    """Each QEMU version in turn; skips, saying so, when this machine has none of it."""
    found = find_qemu(request.param)
    if found is None:
        pytest.skip(f"no QEMU {request.param} here: pagethrift lab doctor says how to get one")
    return found


@pytest.fixture(scope="session")
def qemu_10() -> QemuLike:
    """QEMU 10.0 only."""
    found = find_qemu("10.0")
    if found is None:
        pytest.skip("no QEMU 10.0 here: pagethrift lab doctor says how to get one")
    return found


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A temporary directory with a short name, since a unix socket's path ends at 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="ptq"))
    yield path
    shutil.rmtree(path, ignore_errors=True)

"""What tests with a real Linux guest have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagethrift.lab.doctor import CheckStatus, examine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("lab")


@pytest.fixture(scope="session", autouse=True)
def _machine_can_do_it() -> None:
    """Skip, saying why, where the lab cannot run."""
    missing = [check.name for check in examine(fetch=True) if check.status is CheckStatus.MISSING]
    if missing:
        pytest.skip(f"the lab needs {', '.join(missing)}: pagethrift lab doctor says what to do")

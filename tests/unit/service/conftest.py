"""Fixtures for the service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.service.scenes import Destination


@pytest.fixture
def destination() -> Iterator[Destination]:
    with Destination() as found:
        yield found

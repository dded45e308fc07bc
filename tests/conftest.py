"""Fixtures for all tests."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# a machine that does something else meanwhile is no fault of the code
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# a shell that starts tests in the background leaves these ignored, for them and for what they start
for number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: a unix socket's path ends at 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="ptl"))
    yield path
    shutil.rmtree(path, ignore_errors=True)

"""The collector is off meanwhile, on afterwards, and what was made meanwhile is out of its sight."""

from __future__ import annotations

import gc

import pytest

from pagethrift.cli.collecting import collecting_later


def test_objects_made_meanwhile_are_never_looked_at_again() -> None:
    try:
        with collecting_later():
            assert not gc.isenabled()
            made = [[i] for i in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= len(made)
        assert not any(item is made[0] for item in gc.get_objects())
    finally:
        gc.unfreeze()


def test_a_failed_import_leaves_the_collector_on() -> None:
    try:
        with pytest.raises(ImportError), collecting_later():
            raise ImportError
        assert gc.isenabled()
    finally:
        gc.unfreeze()

"""Leaving out what the guest has no use for needs its consent."""

from __future__ import annotations

import pytest

from pagethrift.errors import UsageError
from pagethrift.model.facts import PageClass
from pagethrift.strategies.table import live_strategy
from pagethrift.strategies.wang import wang


def test_free_and_cache_pages_are_left_out() -> None:
    assert wang().simulated.leaves_out == {PageClass.FREE, PageClass.CACHE}


def test_live_only_with_consent() -> None:
    with pytest.raises(UsageError, match=r"free-page-hint=on.*drop its caches.*--param consent=1"):
        live_strategy("wang")
    assert live_strategy("wang", consent=1).qemu_decides

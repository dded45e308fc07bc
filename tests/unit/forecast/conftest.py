"""Small guests, and few simulated migrations for each mode."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pagethrift.forecast import core
from pagethrift.forecast.candidates import Candidate, candidates

LIKELY = ("pagethrift", "pagethrift, plain pages", "plain", "xbzrle:64MiB", "auto-converge", "post-copy")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let forecasts simulate the likely modes only, three times each."""

    def chosen(written_pages: int, *more: bool) -> list[Candidate]:
        found = candidates(written_pages, *more)
        return [replace(each, draws=3) for each in found if each.name in LIKELY]

    monkeypatch.setattr(core, "candidates", chosen)

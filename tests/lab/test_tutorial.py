"""The tutorial's part with a real guest: from the lab's check to a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tutorial import blocks, prepare, typed


@pytest.mark.timeout(600)
def test_from_the_check_to_a_page(tmp_path: Path) -> None:
    prepare(tmp_path)
    _, real, report = blocks()
    for words in (*real, *report):
        typed(words, tmp_path)
    page = (tmp_path / report[0][-1]).read_text()
    assert page.count("<svg") > 3
    for mode in ("plain", "pagethrift"):
        assert mode in page

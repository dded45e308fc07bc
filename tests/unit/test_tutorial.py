"""The tutorial's part without a guest: its commands run, and print what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents import rows_of
from tests.tutorial import TUTORIAL, blocks, prepare, typed


@pytest.mark.slow
def test_the_simulated_migrations_print_what_is_shown(tmp_path: Path) -> None:
    prepare(tmp_path)
    said = [typed(words, tmp_path) for words in blocks()[0]]
    table = rows_of(TUTORIAL.read_text())
    assert len(table) == 4
    assert [line for line in said[-1].splitlines() if line in table] == table


def test_its_blocks_are_the_three_steps() -> None:
    simulated, real, report = blocks()
    assert [words[1] for words in simulated] == ["-p", "simulate", "simulate", "report"]
    assert [words[1:3] for words in real] == [["lab", "doctor"], ["lab", "compare"]]
    assert [words[1] for words in report] == ["report"]

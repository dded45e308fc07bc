"""The examples of docs/python.md run, in order, in a folder that has what they open."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import pagethrift
from pagethrift.trace.synthetic import Load
from tests.documents import PYTHON_PAGE, python_blocks
from tests.streams import random_stream
from tests.traces import made, run


def test_the_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "guest.stream").write_bytes(random_stream(seed=1))
    results = tmp_path / "results"
    results.mkdir()
    (results / "one.json").write_text(run(made(tmp_path, Load.UNIFORM), "hu").to_json())
    shutil.move(tmp_path / "uniform.parquet", tmp_path / "vm1.trace.parquet")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, block in enumerate(python_blocks(PYTHON_PAGE, needs_qemus=False), 1):
        exec(compile(block, f"{PYTHON_PAGE.name}, example {number}", "exec"), names)
    said = capsys.readouterr().out
    assert "PageCounters(" in said
    assert "pagethrift: " in said
    assert "simulated migrations hu" in said
    assert "stream byte 0" in said
    assert "(exit code 3)" in said
    # Piece by piece or at once: the same stream.
    assert (tmp_path / "thinned.stream").read_bytes() == pagethrift.thin(random_stream(seed=1))


def test_the_page_names_all_there_is() -> None:
    text = PYTHON_PAGE.read_text()
    assert [name for name in pagethrift.__all__ if name not in text] == []

"""The example of docs/python.md that migrates a guest, with two real QEMUs."""

from __future__ import annotations

import pytest

from tests.documents import PYTHON_PAGE, python_blocks
from tests.qemu.live.pair import Pair

pytestmark = pytest.mark.qemu


def test_the_live_example(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = python_blocks(PYTHON_PAGE, needs_qemus=True)
    options = pair.options()
    for told, here in (
        ("/run/vm1.qmp", options.source_qmp),
        ("host2:4444", options.destination),
        ("/run/vm1-new.qmp", options.destination_qmp),
    ):
        assert example.count(f'"{told}"') == 1
        example = example.replace(f'"{told}"', repr(here))
    exec(compile(example, f"{PYTHON_PAGE.name}, live example", "exec"), {"__name__": "example"})
    said = capsys.readouterr().out
    assert "MB sent" in said
    assert "completed: " in said
    assert pair.states() == ("postmigrate", "running")

"""The tables of the studies say what their files say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripts.studies import evacuation, evacuation_model

from tests.unit.evacuation.test_costs import forecast


def run(order: str, outs: list[float | None], kept: bool = True) -> dict[str, Any]:
    lasts = [each for each in outs if each is not None]
    return {
        "order": order, "last_out_s": max(lasts), "link_bytes": 200_000_000, "planned_last_out_s": 9.0,
        "guests": [
            {"stage": "stayed" if each is None else "out", "in_time": each is not None and each <= 20,
             "within_limit": kept if each is not None else None}
            for each in outs
        ],
    }  # fmt: skip


def test_live_evacuations() -> None:
    document = {
        "qemu": "10.0.2", "guests": 2, "ram_bytes": 96_000_000, "link_bps": 12_500_000, "limit_s": 0.3,
        "deadline_s": 20.0, "at_once": 2,
        "runs": [
            run("nova", [15.0, 25.0]), run("planned", [8.0, 12.0]), run("nova", [13.0, None], kept=False),
            run("planned", [8.0, 14.0]),
        ],
    }  # fmt: skip
    lines = evacuation.table(document).splitlines()
    assert lines[0].startswith("QEMU 10.0.2, 2 guests of 96 MB, link 100 Mbit/s, downtime limit 300 ms")
    cells = [[cell.strip() for cell in each.strip("|").split("|")] for each in lines[4:]]
    assert cells[0][:6] == ["planned", "2", "2 of 2", "13.0 s (12.0 to 14.0)", "4 of 4", "4 of 4"]
    assert cells[1][:6] == ["nova", "2", "1 of 2", "25.0 s (25.0 to 25.0)", "2 of 4", "2 of 3"]


def test_many_hosts_in_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "forecast.json"
    path.write_text(json.dumps(forecast()))
    given = [str(path), "--guests", "6", "--hosts", "3", "--bandwidth", "1Gbit", "--deadline", "4min"]
    evacuation_model.main(given)
    said = capsys.readouterr().out
    rows = [each for each in said.splitlines() if each.startswith("| ")][2:]
    assert [each.split(" | ")[0].removeprefix("| ") for each in rows] == [
        "planned", "one-after-another", "all-at-once", "nova", "kubevirt", "longest-first", "shortest-first",
    ]  # fmt: skip
    evacuation_model.main(given)
    assert capsys.readouterr().out == said, "the same draws"

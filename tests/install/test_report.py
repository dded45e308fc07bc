"""``pip install 'pagethrift[report]'``: result files as a page, as tables and as figures."""

from __future__ import annotations

import pytest

from tests.install.conftest import ROOT, Installed

EXTRA = "report"


@pytest.fixture(scope="module")
def results(installed: Installed) -> str:
    """A folder with two results that the installed command wrote."""
    (installed.folder / "results").mkdir()
    for strategy in ("kvm-default", "pagethrift"):
        installed.ok(
            "simulate", ROOT / "traces/idle.parquet", "--bandwidth", "1Gbit", "--strategy", strategy,
            "--out", f"results/{strategy}.json",
        )  # fmt: skip
    return "results"


def test_a_page_with_figures(installed: Installed, results: str) -> None:
    installed.ok("report", results, "--out", "page.html", "--plots", "figures")
    page = (installed.folder / "page.html").read_text()
    assert "<svg" in page
    assert "kvm-default" in page
    assert sorted((installed.folder / "figures").glob("*.png"))


def test_tables(installed: Installed, results: str) -> None:
    assert "| pagethrift | 1 | yes |" in installed.ok("report", results).decode()

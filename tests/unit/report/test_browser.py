"""The page in a real browser: fits a phone, answers the keyboard, prints, complains of nothing."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagethrift.report.load import Loaded
from pagethrift.report.page import html
from tests.browser import WIDER, chromium, needs_browser, resize
from tests.unit.report.samples import run

from selenium.webdriver import Chrome  # isort: skip  # tests.browser skips where there is none
from selenium.webdriver.common.keys import Keys  # isort: skip

pytestmark = [pytest.mark.slow, needs_browser]
# the page has no script of its own, so it is asked through the driver
FOCUSED = "const e = document.activeElement; return e.className + ' ' + (e.getAttribute('aria-label') || '')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    runs = [run(mode, 10.0 + i, i) for mode in ("plain", "xbzrle:512MiB", "pagethrift") for i in range(3)]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html(Loaded(tuple(runs), ()), "pagethrift report small"))
    with chromium() as driver:
        driver.get(path.as_uri())
        yield driver


def test_everything_is_there_and_nothing_is_complained_of(browser: Chrome) -> None:
    find = browser.find_elements
    assert len(find("css selector", "figure svg[role=img]")) == 7
    assert [h.text for h in find("css selector", "h2")] == [
        "At a glance", "small", "How to read it", "Machine and versions",
    ]  # fmt: skip
    levels = [int(h.tag_name[1]) for h in find("css selector", "h1, h2, h3, h4")]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [390, 768, 1200])
def test_page_is_not_wider_than_the_screen(browser: Chrome, width: int) -> None:
    resize(browser, width)
    assert browser.execute_script(WIDER) == 0
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    assert browser.execute_script(WIDER) == 0
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = false")


def test_tab_reaches_the_skip_link_first_and_the_tables(browser: Chrome) -> None:
    resize(browser, 1200)
    browser.get(browser.current_url.partition("#")[0])
    seen = []
    for _ in range(12):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        seen.append(browser.execute_script(FOCUSED).strip())
    assert seen[0] == "skip"
    assert "scroll Summary of small" in seen
    assert "scroll pagethrift against QEMU in small" in seen


def test_it_prints(browser: Chrome, tmp_path: Path) -> None:
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 20_000

"""The documentation site: builds without a warning, is all there, fetches nothing, fits a phone."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from scripts.command_pages import pages
from scripts.documents import ROOT
from scripts.site.links import origin, rewritten
from scripts.site.pages import text

import pagethrift
from pagethrift.strategies.stop_table import STOPS
from pagethrift.strategies.table import TABLE
from tests.browser import WIDER, chromium, needs_browser, resize

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

BUILD_S = 120
THERE = frozenset(
    {"index.md", "lab.md", "scenarios.md", "traces.md", "decisions/0001-signature.md", "figures/demo.svg"}
)
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""tag -> what a browser fetches for it"""


class Loaded(HTMLParser):
    """What a page makes a browser fetch, and its links, texts and anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.paragraphs: list[str] = []
        self._in_paragraph = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if (address := found.get(LOADS.get(tag, ""))) and found.get("rel") not in (
            "canonical",
            "next",
            "prev",
        ):
            self.fetched.append(address)
        if tag == "a" and (address := found.get("href")):
            self.links.append(address)
        self.anchors.add(found.get("id") or found.get("name") or "")
        self._in_paragraph |= tag == "p"
        if tag == "p":
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_paragraph &= tag != "p"

    def handle_data(self, data: str) -> None:
        if self._in_paragraph:
            self.paragraphs[-1] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as ``make docs`` builds it: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": path, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True,
        text=True, check=False, timeout=BUILD_S,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def parsed(site: Path) -> dict[str, Loaded]:
    """Every page of the site."""
    found = {}
    for path in sorted(site.rglob("*.html")):
        found[str(path.relative_to(site))] = page = Loaded()
        page.feed(path.read_text())
    return found


@pytest.mark.slow
def test_every_document_is_a_page(parsed: dict[str, Loaded]) -> None:
    documents = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    assert len(documents) > 25
    wanted = {str(path.with_suffix(".html")) for path in documents}
    wanted |= {"index.html", "contributing.html", "changelog.html", "traces.html"}
    wanted |= {f"commands/{'-'.join(page.words[1:]) or 'index'}.html" for page in pages()}
    assert wanted <= parsed.keys()


@pytest.mark.slow
def test_the_reference_has_every_option_strategy_scenario_and_name(
    site: Path, parsed: dict[str, Loaded]
) -> None:
    for page in pages():
        shown = (site / f"commands/{'-'.join(page.words[1:]) or 'index'}.html").read_text()
        for names, _ in (*page.arguments, *(entry for entries in page.options.values() for entry in entries)):
            assert f"<dt><code>{names.replace('<', '&lt;').replace('>', '&gt;')}</code></dt>" in shown
    assert TABLE.keys() | STOPS.keys() <= parsed["strategy-table.html"].anchors
    assert {path.stem for path in (ROOT / "scenarios").glob("*.toml")} <= parsed["scenarios.html"].anchors
    offered = {anchor.rpartition(".")[2] for anchor in parsed["python-reference.html"].anchors}
    assert set(pagethrift.__all__) - {"__version__"} <= offered


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(parsed: dict[str, Loaded], site: Path) -> None:
    fetched = [address for page in parsed.values() for address in page.fetched]
    assert len(fetched) > 100
    assert [address for address in fetched if re.match(r"(https?:)?//", address)] == []
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert re.findall(r"url\(['\"]?(?:https?:)?//[^)]+\)|@import[^;]+", styles) == []


@pytest.mark.slow
def test_every_link_leads_somewhere(parsed: dict[str, Loaded], site: Path) -> None:
    lost = []
    for name, page in parsed.items():
        for link in page.links:
            path, _, anchor = unquote(link).partition("#")
            if re.match(r"[a-z]+:", path) or name == "404.html":
                continue
            target = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
            target = f"{target}/index.html" if (site / target).is_dir() else target
            anchors = (
                parsed[os.path.normpath(target)].anchors
                if target.endswith(".html") and (site / target).exists()
                else set()
            )
            if not (site / target).exists() or (
                anchor and not anchor.startswith("__") and anchor not in anchors
            ):
                lost.append((name, link))
    assert lost == []


@pytest.mark.slow
def test_lists_and_tables_are_not_left_as_text(parsed: dict[str, Loaded]) -> None:
    texts = [
        (name, line)
        for name, page in parsed.items()
        for paragraph in page.paragraphs
        for line in paragraph.splitlines()
    ]
    assert len(texts) > 1000
    assert [each for each in texts if re.match(r"[*|-] |\d+\. |```|#+ ", each[1])] == []


@pytest.mark.slow
def test_results_do_not_weigh_it_down(site: Path) -> None:
    weights = {path: path.stat().st_size for path in site.rglob("*") if path.is_file()}
    assert not [
        path for path in weights if path.suffix in {".parquet", ".json"} and "search" not in path.parts
    ]
    assert sum(weights.values()) < 12 << 20


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and does not tell."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def browser(site: Path) -> Iterator[tuple[Chrome, str]]:
    """A browser, and where the site is served."""
    handler = functools.partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, chromium() as chrome:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield chrome, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


SEEN = (
    "index", "tutorial", "how-to", "operating", "commands/migrate", "python-reference", "strategy-table",
    "comparison", "all-rows", "threats", "architecture", "stream", "licences",
)  # fmt: skip


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("name", SEEN)
def test_a_page_fits_the_screen_and_the_browser_complains_of_nothing(
    browser: tuple[Chrome, str], name: str, width: int
) -> None:
    chrome, address = browser
    resize(chrome, width)
    chrome.get(f"{address}/{name}.html")
    assert chrome.execute_script(WIDER) == 0
    narrower = "return [...document.querySelectorAll('.md-content p, .md-content img, .md-content dt')]"
    narrower += ".filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('table')).length"
    assert chrome.execute_script(narrower) == 0
    assert [entry for entry in chrome.get_log("browser") if entry["level"] != "INFO"] == []


@pytest.mark.slow
@needs_browser
def test_search_finds_an_option(browser: tuple[Chrome, str]) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    chrome, address = browser
    resize(chrome, 1400)
    chrome.get(f"{address}/index.html")
    chrome.find_element("css selector", "[data-md-component=search-query]").send_keys("xbzrle-cache")
    WebDriverWait(chrome, 20).until(
        lambda c: any(
            "commands/migrate" in (a.get_attribute("href") or "")
            for a in c.find_elements("css selector", ".md-search-result a")
        )
    )


@pytest.mark.parametrize(
    ("page", "markdown", "turned"),
    [
        ("index.md", "[lab](docs/lab.md#link)", "[lab](lab.md#link)"),
        ("index.md", "![a](docs/figures/demo.svg)", "![a](figures/demo.svg)"),
        ("decisions/0001-signature.md", "[lab](../lab.md)", "[lab](../lab.md)"),
        ("lab.md", "[one](decisions/0001-signature.md)", "[one](decisions/0001-signature.md)"),
        ("lab.md", "[t](../traces/README.md)", "[t](traces.md)"),
        ("traces.md", "[lab](../docs/lab.md)", "[lab](lab.md)"),
        ("lab.md", "[the\n`demo`](../scenarios/demo.toml)", "[the\n`demo`](scenarios.md#demo)"),
        ("lab.md", "[x](#y) [z](https://example.org/a.md)", "[x](#y) [z](https://example.org/a.md)"),
        ("lab.md", "`[x](../a.md)`\n```\n[x](../a.md)\n```", "`[x](../a.md)`\n```\n[x](../a.md)\n```"),
        ("lab.md", "[r](results/a.json)", '<abbr title="docs/results/a.json in the sources">r</abbr>'),
    ],
)
def test_links_are_turned(page: str, markdown: str, turned: str) -> None:
    assert rewritten(markdown, page, THERE, "") == turned


def test_a_link_to_what_is_not_in_the_site_leads_to_the_sources_if_it_is_known_where_they_are() -> None:
    turned = rewritten("[`r`](results/a.json)", "lab.md", THERE, "https://example.org/blob/main/")
    assert turned == "[`r`](https://example.org/blob/main/docs/results/a.json)"
    assert origin("index.md") == "README.md"


def test_plain_text_stays_plain() -> None:
    assert text("a_b*c <x> `d_e` [f]|") == r"a\_b\*c &lt;x> `d_e` \[f\]\|"

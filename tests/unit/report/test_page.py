"""The page and the plots: complete, escaped, the same every time."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pagethrift.report.load import Loaded
from pagethrift.report.page import figures, html
from pagethrift.report.runs import Run
from tests.unit.report.samples import client, memcaslap, migration, result, run, write

NASTY = "<script>alert(1)</script> $x^ & _y"


def page(*runs: Run, left_out: tuple[str, ...] = ()) -> str:
    return html(Loaded(runs, left_out), "pagethrift report small")


@pytest.mark.slow
def test_same_files_give_the_same_bytes() -> None:
    runs = [run("plain"), run("pagethrift", 5.0)]
    assert page(*runs) == page(*runs)


def test_names_cannot_become_markup() -> None:
    text = page(run(NASTY, scenario=NASTY), run("pagethrift", scenario=NASTY), left_out=(NASTY,))
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_ids_are_unique_and_references_resolve() -> None:
    text = page(run("plain"), run("pagethrift"), run("plain", scenario="other"))
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    references |= {one for names in re.findall(r'labelledby="([^"]+)"', text) for one in names.split()}
    assert references <= set(ids)


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = page(run("plain"), run("pagethrift"))
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", text)
    assert "http://" not in text.replace("http-equiv", "")


def test_every_figure_has_title_description_and_table() -> None:
    text = page(run("plain"), run("pagethrift"))
    drawn = re.findall(r"<figure.*?</figure>", text, re.DOTALL)
    assert len(drawn) == 5  # two time lines, two of rounds, one scatter
    for one in drawn:
        assert re.search(r'<svg [^>]*role="img".*?<title .*?<desc ', one, re.DOTALL)
        assert "<details>" in one
        assert "<td>" in one


@pytest.mark.slow
def test_memcaslap_has_figures_of_its_own_where_it_ran() -> None:
    text = page(run("plain", client=client(began_unix_s=993.0, memcaslap=memcaslap())), run("pagethrift"))
    (figure,) = re.findall(r'<figure id="s1-memcaslap-1-plain">.*?</figure>', text, re.DOTALL)
    assert "mean, ms" in figure
    assert "figures 10 and 11" in text
    assert "figures 10 and 11" not in page(run("plain"))


@pytest.mark.slow
def test_different_machines_are_said() -> None:
    one = run("plain")
    other = run("pagethrift", migration=migration("pagethrift", source_qemu="7.2.0"))
    assert "different machines or versions" in page(one, other)
    assert "10.0.2; 7.2.0" in page(one, other)
    assert "different machines or versions" not in page(one, run("pagethrift"))


@pytest.mark.long
@pytest.mark.slow
def test_sixty_long_runs_fit_into_three_megabytes() -> None:
    points = {
        "began_s": 0.0, "interval_s": 0.1, "operations": [i * 7 % 300 for i in range(1200)],
        **{name: [1 + i * 13 % 97 / 3 for i in range(1200)] for name in ("p50_ms", "p99_ms", "max_ms")},
    }  # fmt: skip
    client = result().client | {"series": points}
    runs = [
        run(f"xbzrle:{mode}", repetition=i, scenario=f"s{scenario}", client=client)
        for scenario in range(3) for mode in range(7) for i in range(3)
    ]  # fmt: skip
    assert len(page(*runs).encode()) < 3_000_000


@pytest.mark.slow
def test_command_writes_page_and_plots(tmp_path: Path) -> None:
    write(tmp_path / "in", result("plain"), result("pagethrift", 5.0))
    out, plots = tmp_path / "report.html", tmp_path / "plots"
    command = [sys.executable, "-m", "pagethrift", "report", str(tmp_path / "in")]
    command += ["--out", str(out), "--plots", str(plots)]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    assert out.read_text().startswith("<!doctype html>")
    names = {path.name for path in plots.iterdir()}
    loaded = Loaded((run("plain"), run("pagethrift", 5.0)), ())
    assert names == {f"{figure.key}.{kind}" for figure in figures(loaded) for kind in ("svg", "png")}
    assert all(ElementTree.parse(path) for path in plots.glob("*.svg"))

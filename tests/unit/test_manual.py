"""Manual pages: all that ``--help`` says, in roff that groff takes without a word."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripts import manual
from scripts.command_pages import CommandPage, codes, pages

from pagethrift.cli.completion import tree
from pagethrift.cli.main import COMMANDS

PAGES = {page.slug: page for page in pages()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("manual")
    manual.write(path)
    return path


def leaves(command: Any, slug: str) -> Iterator[tuple[str, Any]]:
    """Yield every command of Typer's tree, with the name that its page should have."""
    yield slug, command
    for name, below in getattr(command, "commands", {}).items():
        yield from leaves(below, f"{slug}-{name}")


def shown(page: Path) -> str:
    """Return what a reader sees of a page, as one line."""
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-c", "-rLL=1000n", page], capture_output=True, text=True, check=True
    )
    return " ".join(re.sub(".\b", "", done.stdout).split())


def test_every_command_has_a_page(folder: Path) -> None:
    wanted = {f"{slug}.1" for slug, _ in leaves(tree(), "pagethrift")}
    assert wanted == {path.name for path in (folder / "man").iterdir()}
    assert {f"pagethrift-{name}.1" for name in COMMANDS} | {"pagethrift-lab-run.1"} <= wanted


@pytest.mark.skipif(shutil.which("groff") is None, reason="NOT CHECKED: no groff here")
def test_every_option_of_every_command_is_shown_with_its_help(folder: Path) -> None:
    options = 0
    for slug, command in leaves(tree(), "pagethrift"):
        said = shown(folder / "man" / f"{slug}.1")
        for param in command.params:
            if getattr(param, "hidden", False):
                continue
            options += 1
            for name in (*param.opts, *param.secondary_opts) if param.param_type_name == "option" else ():
                assert re.search(rf" {re.escape(name)}[ ,]", said), (slug, name)
            assert " ".join((param.help or "").split()) in said, (slug, param.name)
        assert all(example in said for example in PAGES[slug].examples)
    assert options > 100


@pytest.mark.skipif(shutil.which("groff") is None, reason="NOT CHECKED: no groff here")
def test_groff_has_nothing_to_say(folder: Path) -> None:
    for path in sorted((folder / "man").iterdir()):
        done = subprocess.run(["groff", "-ww", "-man", "-Tutf8", path], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), path.name


@pytest.mark.skipif(shutil.which("man") is None, reason="NOT CHECKED: no man here")
def test_man_shows_them_without_a_warning(folder: Path) -> None:
    done = subprocess.run(
        ["man", "--warnings", "-l", *sorted((folder / "man").iterdir())], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "pagethrift" in done.stdout


def test_text_cannot_be_taken_for_roff() -> None:
    page = CommandPage(
        ("pagethrift", "x"), "a \\fB-b", "pagethrift x", (".so /etc/passwd", "'x"), [], {}, {}, (), ""
    )
    lines = manual.manual(page, []).splitlines()
    assert r"pagethrift\-x \- a \efB\-b" in lines
    assert r"\&.so /etc/passwd" in lines
    assert r"\(aqx" in lines


def test_the_day_is_that_of_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert ' 1 1970-01-02 "pagethrift ' in manual.manual(PAGES["pagethrift"], [])


@pytest.mark.parametrize(
    ("text", "listed", "more"),
    [
        ("0 done, 2 usage.", [("0", "done"), ("2", "usage")], ""),
        (
            "0 done (a, b), 5 a QEMU. After 0, 1 and 7 look.",
            [("0", "done (a, b)"), ("5", "a QEMU")],
            "After 0, 1 and 7 look.",
        ),
    ],
)
def test_exit_codes_are_told_apart(text: str, listed: list[tuple[str, str]], more: str) -> None:
    assert codes(text) == (listed, more)


def test_every_command_that_migrates_says_its_exit_codes() -> None:
    assert [number for number, _ in codes(PAGES["pagethrift"].exit_codes)[0]][-1] == "141"
    assert all(PAGES[f"pagethrift-{name}"].exit_codes for name in ("migrate", "relay", "record"))


@pytest.mark.parametrize("shell", manual.COMPLETIONS)
def test_each_shell_takes_its_script(folder: Path, shell: str) -> None:
    path = folder / "completions" / shell / manual.COMPLETIONS[shell]
    assert "_PAGETHRIFT_COMPLETE" in path.read_text()
    if shutil.which(shell) is None:
        pytest.skip(f"NOT TRIED: no {shell} here")
    done = subprocess.run([shell, "-n", path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")

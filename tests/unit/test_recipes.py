"""The command lines of docs/recipes are taken by the commands, and the files that they name exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import ROOT, code_blocks
from tests.exchanging import INSTALLED, SCRIPT, ways_of

RECIPES = sorted((ROOT / "docs/recipes").glob("*.md"))
UNIT = (ROOT / "contrib/systemd/pagethrift-relay.service").read_text()


def lines(page: Path) -> list[str]:
    return [line for block in code_blocks(page) for line in block.text.splitlines()]


def services(page: Path) -> list[list[str]]:
    """Return the command lines of services: those that are shown, and those of relay.conf."""
    found = [line.removesuffix(" &") for line in lines(page) if line.startswith("pagethrift relay --serve")]
    for block in code_blocks(page):
        settings = dict(re.findall(r"^(WAYS|OPTIONS)=(.*)$", block.text, re.MULTILINE))
        if settings:
            found.append(f"pagethrift relay --serve {settings['WAYS']} {settings.get('OPTIONS', '')}")
    return [shlex.split(each) for each in found]


def test_there_are_recipes_with_services() -> None:
    assert {path.stem for path in RECIPES} == {"index", "kubevirt", "not", "nova", "proxmox", "virsh"}
    assert sum(len(services(path)) for path in RECIPES) >= 5


@pytest.mark.parametrize("page", RECIPES, ids=lambda path: path.stem)
def test_services_take_their_command_lines(page: Path) -> None:
    for words in services(page):
        assert ways_of(words)


@pytest.mark.parametrize("page", RECIPES, ids=lambda path: path.stem)
def test_tests_and_files_that_a_recipe_names_exist(page: Path) -> None:
    named = re.findall(r"(?:tests|contrib)/[\w/.-]+\.\w+", page.read_text())
    assert [each for each in named if not (ROOT / each).exists()] == []


def test_every_recipe_says_how_it_is_undone_seen_and_what_was_tried() -> None:
    for name in ("kubevirt", "nova", "proxmox", "virsh"):
        text = (ROOT / f"docs/recipes/{name}.md").read_text()
        for words in ("## Install", "ee that it works", "ndo", "## What was tried", "pagethrift top"):
            assert words in text, (name, words)
        assert "**T**" in text
        assert "**R**" in text


def test_proxmoxs_exchange_takes_its_command_line() -> None:
    (line,) = [each for each in lines(ROOT / "docs/recipes/proxmox.md") if each.startswith("ExecStart=")]
    python, script, *words = shlex.split(line.removeprefix("ExecStart="))
    assert (python, script) == ("/usr/bin/python3", INSTALLED)
    words = [each.replace("/run/", "/nowhere/") for each in words]
    with subprocess.Popen([sys.executable, SCRIPT, *words], stderr=subprocess.PIPE, text=True) as started:
        with pytest.raises(subprocess.TimeoutExpired):
            started.wait(0.5)
        started.terminate()
        assert started.communicate(timeout=10)[1] == ""


def test_the_services_slots_are_where_its_unit_may_write_and_top_looks() -> None:
    """Below /run/pagethrift, as pagethrift.state_folder has it."""
    (folder,) = re.findall(r"^RuntimeDirectory=(.*)$", UNIT, re.MULTILINE)
    assert folder.startswith("pagethrift/")
    text = (ROOT / "docs/recipes/proxmox.md").read_text()
    slots = set(re.findall(r"unix:(/[\w/]+)/\d\.in", text))
    assert slots == {f"/run/{folder}"}
    assert f"exchange.py /run/{folder} " in text

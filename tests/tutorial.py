"""The tutorial's commands, as tests run them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.documents import ROOT, code_blocks

TUTORIAL = ROOT / "docs/tutorial.md"
COMMAND_S = 280


def blocks() -> list[list[list[str]]]:
    """Return the words of each command of each block that a reader types after the installation."""
    shell = [block.text for block in code_blocks(TUTORIAL) if block.language == "sh"]
    joined = [text.replace("\\\n", " ") for text in shell]
    return [[shlex.split(line) for line in text.splitlines() if line] for text in joined]


def prepare(folder: Path) -> None:
    """Give a folder what a clone has and the commands read."""
    for name in ("traces", "scenarios"):
        (folder / name).symlink_to(ROOT / name)


def typed(words: list[str], folder: Path) -> str:
    """Run a command of the tutorial in a folder; return what it prints."""
    if words[0] == "mkdir":
        return subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout
    assert words[0] == "pagethrift"
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, check=False, timeout=COMMAND_S,
    )  # fmt: skip
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout

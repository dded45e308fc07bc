"""``python -m scripts.documents``: the tables of the documents anew, from the result files.

A mark is an HTML comment that names the command whose output stands below it, up to the closing mark:

    <!-- begin: pagethrift report docs/results/demo.parquet # demo -->
    <!-- end -->

Behind ``#``: of the output only what stands below the heading of that name. With ``--check`` nothing is
written: the documents that differ are named and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pagethrift.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
_MARKED = re.compile(
    r"(?P<mark><!-- begin: (?P<command>.*?)(?: # (?P<section>.*?))? -->\n).*?(?P<end><!-- end -->)", re.S
)
_HEADING = re.compile(r"(#+) (.*)")
_PROGRAMS = ("pagethrift ", "python -m scripts.")
"""what a mark may run"""


def documents(root: Path = ROOT) -> list[Path]:
    """Return the files that may have marks."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def commands(text: str) -> list[str]:
    """Return the commands that a document's marks name. Raises UsageError when a mark is not closed."""
    found = [each["command"] for each in _MARKED.finditer(text)]
    if len(found) != text.count("<!-- begin: ") or len(found) != text.count("<!-- end -->"):
        raise UsageError("a mark without its end, or an end without its mark")
    return found


def run(command: str) -> str:
    """Return what a command prints, run in the project's folder. Raises UsageError."""
    if not command.startswith(_PROGRAMS):
        raise UsageError(f"{command}: a mark runs pagethrift or python -m scripts.*")
    words = shlex.split(command)
    module = ["-m", *words] if words[0] == "pagethrift" else words[1:]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *module], cwd=ROOT, env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise UsageError(f"{command}: {done.stderr.strip()}")
    return done.stdout


def section(text: str, title: str) -> str:
    """Return what stands below a heading, its smaller headings included. Raises UsageError."""
    lines, level = [], 0
    for line in text.splitlines():
        heading = _HEADING.fullmatch(line)
        if level and heading and len(heading[1]) <= level:
            break
        if level:
            lines.append(line)
        elif heading and heading[2] == title:
            level = len(heading[1])
    if not level:
        raise UsageError(f"no heading {title!r} in the output")
    return "\n".join(lines)


def filled(text: str, outputs: Mapping[str, str]) -> str:
    """Return a document with what its commands printed. Raises UsageError."""

    def between(found: re.Match[str]) -> str:
        output = outputs[found["command"]]
        try:
            made = section(output, found["section"]) if found["section"] else output
        except UsageError as error:
            raise UsageError(f"{found['command']}: {error}") from error
        return f"{found['mark']}\n{made.strip()}\n\n{found['end']}"

    return _MARKED.sub(between, text)


def stale(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the documents that differ from what their commands print now, with their new text."""
    texts = {path: path.read_text() for path in paths}
    asked: dict[str, None] = {}
    for path, text in texts.items():
        try:
            asked |= dict.fromkeys(commands(text))
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outputs = dict(zip(asked, pool.map(run, asked), strict=True))
    new = {path: filled(text, outputs) for path, text in texts.items()}
    return {path: new[path] for path, text in texts.items() if text != new[path]}


def main(arguments: list[str] | None = None) -> None:
    """Rewrite or check the documents."""
    parser = argparse.ArgumentParser(prog="python -m scripts.documents", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when one differs")
    check = parser.parse_args(arguments).check
    found = stale(documents())
    for path, text in found.items():
        print(
            f"{path.relative_to(ROOT)}: {'differs; run python -m scripts.documents' if check else 'written'}"
        )
        if not check:
            path.write_text(text)
    if check and found:
        sys.exit(1)


if __name__ == "__main__":
    main()

"""``python -m scripts.licences`` (``make licences``): writes docs/licences.md.

Each package's own metadata tells its licence: an expression, else the short field License, else classifiers.
What the lock has for other versions of Python only is not installed, and not listed: run it on the oldest.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pagethrift.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PAGE = ROOT / "docs/licences.md"
DEVELOPING = {"dev", "docs"}
"""extras that nobody needs to run pagethrift"""
_CLASSIFIER = "License :: OSI Approved :: "
_SAME = {
    "Apache Software License": "Apache-2.0", "Apache License 2.0": "Apache-2.0", "Apache 2.0": "Apache-2.0",
    "BSD 2-Clause License": "BSD-2-Clause", "Apache License, Version 2.0": "Apache-2.0",
    "MIT License": "MIT", "BSD License": "BSD",
    "Python Software Foundation License": "PSF-2.0", "The Unlicense (Unlicense)": "Unlicense",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0", "ISC License (ISCL)": "ISC",
}  # fmt: skip
"""other names in metadata for what SPDX names shortly"""
_LOOKED_UP = {
    "qemu-qmp": "LGPL-2.0-or-later; its file legacy.py, which pagethrift does not load: GPL-2.0-only"
}
"""packages whose metadata does not say which licence is of which part"""
HEAD = """# Licences of what is installed

pagethrift is Apache-2.0. These are the packages that `requirements.lock` installs, with the licence that
each names in its metadata. None is copied into pagethrift or its wheel. `make licences` writes this page.
"""


def locked(text: str) -> list[Requirement]:
    """Return the lock's packages with their versions, those for this Python."""
    lines = re.findall(r"^[A-Za-z0-9][^\\\n]*", text, re.MULTILINE)
    found = [Requirement(line) for line in lines]
    return [each for each in found if each.marker is None or each.marker.evaluate()]


def project() -> dict[str, list[Requirement]]:
    """Return what each extra of pyproject.toml but ``fuzz`` and ``libvirt`` asks for; "" is the base."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {"": table["dependencies"], **table["optional-dependencies"]}
    del asked["fuzz"]  # make fuzz installs it by itself; nobody gets it with the project
    del asked["libvirt"]  # builds against the system's libvirt, whose version it must not exceed
    return {extra: [Requirement(line) for line in lines] for extra, lines in asked.items()}


def licence(package: Distribution) -> str:
    """Return a package's licence as its metadata names it. Raises UsageError when it names none."""
    data: Any = package.metadata
    if looked_up := _LOOKED_UP.get(canonicalize_name(data["Name"])):
        return looked_up
    if expression := data.get("License-Expression"):
        return str(expression)
    classifiers = data.get_all("Classifier") or []
    names = [text.removeprefix(_CLASSIFIER) for text in classifiers if text.startswith(_CLASSIFIER)]
    field = (data.get("License") or "").strip()
    short = field if field and len(field) < 40 and "\n" not in field else ""
    found = [short] if short and (not names or names == ["BSD License"]) else names
    if not found:
        raise UsageError(f"{data['Name']}: its metadata names no licence; look it up and name it here")
    return " OR ".join(sorted({_SAME.get(name, name) for name in found}))


def needed(requirements: Iterable[Requirement]) -> set[str]:
    """Return the names of these packages and of all that they need here, with the extras they ask for."""
    names: set[str] = set()
    done: set[tuple[str, frozenset[str]]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in done or name == "pagethrift":
            continue
        done.add((name, extras))
        try:
            lines = distribution(name).requires or []
        except PackageNotFoundError as error:
            raise UsageError(f"{name} is not installed; run make setup") from error
        names.add(name)
        for line in lines:
            inner = Requirement(line)
            environments = [{"extra": extra} for extra in ("", *extras)]
            if inner.marker is None or any(map(inner.marker.evaluate, environments)):
                waiting.append(inner)
    return names


def tables() -> Iterator[str]:
    """Yield the lines of a table of what runs, and of one of what only development needs."""
    asked = project()
    names = {extra: needed(requirements) for extra, requirements in asked.items()}
    runs = {extra: names[extra] for extra in names if extra not in DEVELOPING}
    running = set().union(*runs.values())
    yield from ("## Runs with pagethrift", "", "| package | licence | for |", "| --- | --- | --- |")
    for name in sorted(running):
        uses = [extra for extra, found in runs.items() if extra and name in found]
        use = "pagethrift" if name in names[""] else ", ".join(f"`[{extra}]`" for extra in uses)
        yield f"| {name} | {licence(distribution(name))} | {use} |"
    yield from ("", "## Only to develop", "", "| package | licence |", "| --- | --- |")
    rest = {canonicalize_name(each.name) for each in locked(LOCK.read_text())} - running
    for name in sorted(rest):
        yield f"| {name} | {licence(distribution(name))} |"


def page() -> str:
    """Return the document. Raises UsageError when a package is not installed or names no licence."""
    return "\n".join((HEAD, *tables(), ""))


def main(arguments: list[str] | None = None) -> None:
    """Write the document."""
    parser = argparse.ArgumentParser(prog="python -m scripts.licences", description=__doc__)
    parser.add_argument("--out", type=Path, default=PAGE)
    path = parser.parse_args(arguments).out
    path.write_text(page())
    print(path)


if __name__ == "__main__":
    main()

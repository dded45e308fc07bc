"""Deriving a private apt source list, with backports, from this machine's own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pagethrift.errors import LabError

_OPTION_FIELDS = {"arch": "Architectures", "signed-by": "Signed-By", "trusted": "Trusted"}


def read_sources(root: Path = Path("/etc/apt")) -> list[str]:
    """Return the texts of the machine's apt sources, all in deb822 style."""
    texts = [path.read_text() for path in sorted((root / "sources.list.d").glob("*.sources"))]
    lines = [root / "sources.list", *sorted((root / "sources.list.d").glob("*.list"))]
    texts += [_from_one_line(path.read_text()) for path in lines if path.exists()]
    return texts


def derive_sources(texts: Iterable[str], codename: str, release: str = "") -> str:
    """Return deb822 sources: the release's own entries, its archive with the backports suite added.

    ``texts`` are deb822 sources, ``codename`` is the release such as bookworm. Everything but the
    suites (address, components, keys) is kept as found; third-party entries are left out.
    With ``release``, the suites are those of that release of the same archive.
    Raises LabError when no entry names the release ``codename``.
    """
    release = release or codename
    kept: list[str] = []
    found = False
    for text in texts:
        for stanza in re.split(r"\n\s*\n", text):
            fields = _fields(stanza)
            suites = fields.get("suites", "").split()
            enabled = fields.get("enabled", "yes").lower() not in ("no", "false", "0")
            if not codename or not enabled or "deb" not in fields.get("types", "").split():
                continue
            wanted = [suite for suite in suites if suite.split("-")[0] == codename]
            if codename in suites:
                found = True
                wanted = [*wanted, *({f"{codename}-backports"} - set(wanted))]
            if wanted:
                named = (release + suite.removeprefix(codename) for suite in wanted)
                kept.append(_with_fields(stanza, {"Types": "deb", "Suites": " ".join(named)}))
    if not found:
        raise LabError(
            f"no apt source of this machine names Debian {codename or '(unknown release)'}; "
            "add one, or install that QEMU as qemu-system-x86_64"
        )
    return "\n\n".join(kept) + "\n"


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace():
            fields[name] = f"{fields.get(name, '')} {line.strip()}"
        elif ":" in line:
            name, value = line.split(":", 1)
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def _with_fields(stanza: str, values: dict[str, str]) -> str:
    replaced = {name.lower() for name in values}
    lines, dropping = [f"{name}: {value}" for name, value in values.items()], False
    for line in stanza.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if not line[:1].isspace():
            dropping = line.split(":", 1)[0].strip().lower() in replaced
        if not dropping:
            lines.append(line)
    return "\n".join(lines)


def _from_one_line(text: str) -> str:
    stanzas = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if match is None:
            continue
        options, address, suite, components = match.groups()
        fields = {"Types": "deb", "URIs": address, "Suites": suite, "Components": components.strip()}
        for option in (options or "").split():
            name, _, value = option.partition("=")
            if name in _OPTION_FIELDS:
                fields[_OPTION_FIELDS[name]] = value.replace(",", " ")
        stanzas.append("\n".join(f"{name}: {value}" for name, value in fields.items()))
    return "\n\n".join(stanzas)

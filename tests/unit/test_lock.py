"""requirements.lock: what pyproject.toml asks for, with hashes, and no address or path."""

from __future__ import annotations

import re

from packaging.utils import canonicalize_name
from scripts import licences

TEXT = licences.LOCK.read_text()
LOCKED = {canonicalize_name(each.name): each for each in licences.locked(TEXT)}


def test_every_dependency_is_locked_to_a_version_it_allows() -> None:
    asked = [each for extra in licences.project().values() for each in extra if each.name != "pagethrift"]
    assert len(asked) > 20
    for requirement in asked:
        (only,) = LOCKED[canonicalize_name(requirement.name)].specifier
        assert only.operator == "=="
        assert requirement.specifier.contains(only.version), requirement


def test_every_entry_has_hashes_and_nothing_else_is_in_it() -> None:
    entry = r"[a-z0-9][a-z0-9.-]*==[\w.]+( ; [^\\\n]+)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+"
    assert re.fullmatch(f"({entry})+", TEXT)

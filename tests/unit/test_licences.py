"""docs/licences.md lists every package of the lock."""

from __future__ import annotations

import sys
from email.message import Message
from importlib.metadata import Distribution
from types import SimpleNamespace
from typing import cast

import pytest
from packaging.utils import canonicalize_name
from scripts import licences

from pagethrift.errors import UsageError

PAGE = licences.PAGE.read_text()


def package(**fields: str | list[str]) -> Distribution:
    data = Message()
    data["Name"] = "some-package"
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            data[name.replace("_", "-")] = value
    return cast(Distribution, SimpleNamespace(metadata=data))


def test_every_locked_package_is_listed() -> None:
    names = {canonicalize_name(each.name) for each in licences.locked(licences.LOCK.read_text())}
    assert len(names) > 80
    assert [name for name in sorted(names) if f"\n| {name} | " not in PAGE] == [], "run make licences"


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the page is written on the oldest Python")
def test_the_page_is_what_the_command_writes() -> None:
    assert licences.page() == PAGE, "run make licences"


def test_copyleft_is_said() -> None:
    assert "\n| qemu-qmp | LGPL-2.0-or-later" in PAGE


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"License_Expression": "MIT AND Zlib", "License": "x"}, "MIT AND Zlib"),
        ({"License": "Apache 2.0"}, "Apache-2.0"),
        ({"Classifier": ["License :: OSI Approved :: MIT License", "Topic :: X"]}, "MIT"),
        ({"License": "long " * 20, "Classifier": "License :: OSI Approved :: BSD License"}, "BSD"),
    ],
)
def test_what_metadata_says(fields: dict[str, str | list[str]], found: str) -> None:
    assert licences.licence(package(**fields)) == found


def test_a_package_without_a_licence_is_an_error() -> None:
    with pytest.raises(UsageError, match="some-package: its metadata names no licence"):
        licences.licence(package(Classifier="Topic :: X"))

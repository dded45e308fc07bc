"""Deriving the private apt sources. The addresses are examples of the reserved domain."""

from pathlib import Path

import pytest

from pagethrift.errors import LabError
from pagethrift.lab.guest.aptsources import derive_sources, read_sources

DEB822 = """\
Types: deb deb-src
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
"""


def test_backports_join_the_release_with_address_and_key_kept() -> None:
    archive, security = derive_sources([DEB822], "bookworm").strip().split("\n\n")
    assert "Suites: bookworm bookworm-updates bookworm-backports" in archive
    assert "URIs: http://mirror.example/debian" in archive
    assert " abc\n" in archive
    assert "Types: deb\n" in archive
    assert "Suites: bookworm-security" in security
    assert "backports" not in security


def test_backports_already_there_are_not_doubled() -> None:
    text = DEB822.replace("bookworm-updates", "bookworm-backports")
    assert derive_sources([text], "bookworm").count("bookworm-backports") == 1


def test_another_release_of_the_same_archive() -> None:
    archive, security = derive_sources([DEB822], "bookworm", "trixie").strip().split("\n\n")
    assert "Suites: trixie trixie-updates trixie-backports" in archive
    assert "URIs: http://mirror.example/debian" in archive
    assert "Suites: trixie-security" in security


def test_third_party_disabled_and_source_only_entries_are_left_out() -> None:
    other = DEB822.replace("bookworm", "nodistro").replace("mirror", "other")
    disabled = "Enabled: no\n" + DEB822.split("\n\n")[0].replace("mirror", "disabled")
    sources = DEB822.split("\n\n")[1].replace("Types: deb", "Types: deb-src").replace("mirror", "sources")
    derived = derive_sources([other, disabled, sources, DEB822], "bookworm")
    for name in ("other.", "disabled.", "sources."):
        assert name not in derived


def test_one_line_style_is_read(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(
        "# deb http://off.example/debian bookworm main\n"
        "deb [arch=amd64,i386 signed-by=/key.gpg] http://mirror.example/debian bookworm main contrib # note\n"
    )
    derived = derive_sources(read_sources(tmp_path), "bookworm")
    assert derived == (
        "Types: deb\nSuites: bookworm bookworm-backports\nURIs: http://mirror.example/debian\n"
        "Components: main contrib\nArchitectures: amd64 i386\nSigned-By: /key.gpg\n"
    )


@pytest.mark.parametrize("codename", ["trixie", ""])
def test_a_release_without_entry_is_an_error(codename: str) -> None:
    with pytest.raises(LabError, match="no apt source"):
        derive_sources([DEB822], codename)

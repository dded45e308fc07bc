"""The private apt: what it is told, with a stand-in for the programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import LabError
from pagethrift.lab.guest import debian
from pagethrift.lab.guest.debian import run

PLAN = """\
Inst libc6 (2.41-12 Debian:13 [amd64])
Inst tool [1.0] (2.0 Debian:13 [amd64])
Conf tool (2.0 Debian:13 [amd64])
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of a machine that runs bookworm; apt answers with PLAN."""
    commands: list[list[str]] = []

    def answer(command: Sequence[str], **_: Any) -> str:
        commands.append(list(command))
        return PLAN

    entry = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n"
    monkeypatch.setenv("PAGETHRIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(debian, "codename", lambda: "bookworm")
    monkeypatch.setattr(debian, "read_sources", lambda: [entry])
    monkeypatch.setattr(debian, "run", answer)
    (tmp_path / "to").mkdir()
    return commands


def test_the_own_release_needs_no_c_library(asked: list[list[str]], tmp_path: Path) -> None:
    assert debian.unpack(["tool"], "bookworm-backports", tmp_path / "to") == {"tool": "2.0"}
    assert not [word for word in asked[1] if "State::status" in word]
    assert [command[-1] for command in asked] == ["update", "tool", "tool=2.0"]


def test_another_release_brings_all_its_libraries(asked: list[list[str]], tmp_path: Path) -> None:
    """Nothing counts as installed; what only their installation needs is left out."""
    found = debian.unpack(["tool"], "trixie-backports", tmp_path / "to")
    assert found == {"libc6": "2.41-12", "tool": "2.0"}
    (status,) = [word.split("=")[1] for word in asked[1] if "State::status" in word]
    installed = Path(status).read_text()
    assert installed.count("Package:") == installed.count("ok installed") == 2
    assert "Package: adduser" in installed
    (sources,) = [word.split("=")[1] for word in asked[1] if "SourceList" in word]
    assert "Suites: trixie trixie-backports" in Path(sources).read_text()


def test_missing_program_and_failing_program_are_lab_errors() -> None:
    with pytest.raises(LabError, match="program no-such-program is missing"):
        run(["no-such-program"], what="trying")
    with pytest.raises(LabError, match="E: broken"):
        run(["sh", "-c", "(echo noise; echo E: broken; echo more) >&2; exit 100"], what="trying")

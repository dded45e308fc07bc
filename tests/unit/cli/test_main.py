"""``pagethrift``: which command is found, and how errors end it."""

from __future__ import annotations

import sys
from importlib.metadata import metadata
from types import ModuleType

import pytest

from pagethrift import __version__
from pagethrift.cli import main as main_module
from pagethrift.cli.main import COMMANDS, EXTRAS, main
from pagethrift.errors import LinkError, PagethriftError, UsageError


def end_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run ``pagethrift ARGUMENTS`` and return its exit code."""
    monkeypatch.setattr("sys.argv", ["pagethrift", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def command_raising(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """Put a command in the place of a real one, that fails once it is called."""

    def app(**_: object) -> None:
        raise error

    module = ModuleType("fake")
    vars(module)["app"] = app
    monkeypatch.setitem(sys.modules, "fake_command", module)
    monkeypatch.setitem(main_module.COMMANDS, name, ("fake_command", ""))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_found(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of(monkeypatch, name, "--help") == 0
    assert f"pagethrift {name}" in capsys.readouterr().out


def test_the_overview_imports_no_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(main_module.COMMANDS, "inspect", ("no.such.module", "Its line of help."))
    assert end_of(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"pagethrift {__version__}\n"
    assert end_of(monkeypatch, "--help") == 0
    said = capsys.readouterr().out
    assert "Its line of help." in said
    assert all(f" {name} " in said for name in COMMANDS)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("no such trace"), 2, "pagethrift: no such trace\n"),
        (LinkError("the link is cut"), 4, "pagethrift: the link is cut\n"),
        (PagethriftError("anything"), 1, "pagethrift: anything\n"),
        (KeyboardInterrupt(), 130, "pagethrift: interrupted\n"),
    ],
)
def test_errors_end_on_one_line(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command_raising(monkeypatch, "inspect", error)
    assert end_of(monkeypatch, "inspect") == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("name", sorted(EXTRAS))
def test_a_missing_extra_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_raising(monkeypatch, name, ModuleNotFoundError("No module named 'a'", name="a.b"))
    assert end_of(monkeypatch, name) == 2
    assert capsys.readouterr().err == (
        f"pagethrift {name} needs the {name} extra: pip install 'pagethrift[{name}]' (a is not installed)\n"
    )


@pytest.mark.parametrize(("command", "missing"), [("inspect", "numpy"), ("lab", "pagethrift.lab.forgotten")])
def test_what_no_extra_brings_is_a_fault_of_ours(
    command: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command_raising(monkeypatch, command, ModuleNotFoundError("", name=missing))
    monkeypatch.setattr("sys.argv", ["pagethrift", command])
    with pytest.raises(ModuleNotFoundError):
        main()


def test_extras_are_those_of_the_package() -> None:
    assert set(metadata("pagethrift").get_all("Provides-Extra", [])) >= EXTRAS

"""``pagethrift``: how errors end a command, and what is said when an extra is missing."""

from __future__ import annotations

import sys
from importlib.metadata import metadata
from types import ModuleType

import pytest

from pagethrift.cli.main import EXTRAS, main
from pagethrift.errors import LinkError, PagethriftError, UsageError


def end_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run ``pagethrift ARGUMENTS`` and return its exit code."""
    monkeypatch.setattr("sys.argv", ["pagethrift", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def command_raising(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """Put one that fails in the place of a command."""

    def app(**_: object) -> None:
        raise error

    module = ModuleType("fake")
    vars(module)["app"] = app
    monkeypatch.setitem(sys.modules, f"pagethrift.cli.{name}", module)


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

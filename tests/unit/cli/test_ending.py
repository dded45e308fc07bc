"""``pagethrift``: how errors end a command, and what is said when an extra is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import metadata
from types import ModuleType

import pytest
import typer

from pagethrift.cli.exits import EXTRAS
from pagethrift.cli.main import main
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

    app = typer.Typer()

    @app.command()
    def fails() -> None:
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
        f"pagethrift {name} needs the {name} extra: pip install '.[{name}]' in its sources"
        " (a is not installed)\n"
    )


@pytest.mark.parametrize(("command", "missing"), [("inspect", "numpy"), ("lab", "pagethrift.lab.forgotten")])
def test_what_no_extra_brings_is_a_fault_of_ours(
    command: str, missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_raising(monkeypatch, command, ModuleNotFoundError(f"No module named {missing!r}", name=missing))
    assert end_of(monkeypatch, command) == 1
    said = capsys.readouterr().err
    assert f"ModuleNotFoundError: No module named {missing!r}" in said
    assert "please report it" in said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("first\nsecond"), "ValueError: first second; this is a fault of pagethrift"),
        (RecursionError("too deep"), "RecursionError: too deep; this is"),
        (UnicodeDecodeError("utf-8", b"\xff" * 9000, 0, 1, "bad"), "UnicodeDecodeError: "),
        (KeyError("x" * 100_000), "KeyError: 'xxx"),
        (MemoryError(), "out of memory"),
        (OSError(28, "No space left on device", "/tmp/r.json"), "/tmp/r.json: No space left on device"),
        (OSError(28, "No space left on device"), "writing: No space left on device"),
    ],
)
def test_whatever_is_raised_ends_on_one_short_line(
    error: BaseException, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_raising(monkeypatch, "inspect", error)
    assert end_of(monkeypatch, "inspect") == 1
    line = capsys.readouterr().err
    assert line.startswith(f"pagethrift: {said}")
    assert line.count("\n") == 1
    assert len(line) < 300


def test_a_traceback_is_shown_to_who_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PAGETHRIFT_TRACEBACK", "1")
    command_raising(monkeypatch, "inspect", ValueError("here"))
    assert end_of(monkeypatch, "inspect") == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("relay",), "Missing option '--connect'; see pagethrift relay --help"),
        (("libvirt", "migrate", "--no-such"), "see pagethrift libvirt migrate --help"),
        (("inspect", "--none"), "No such option: --none"),
        (("simulate", "x", "--seed", "many"), "Invalid value for '--seed': "),
        (("nothing",), "No such command 'nothing'"),
    ],
)
def test_a_wrong_command_line_is_one_line_too(
    arguments: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert end_of(monkeypatch, *arguments) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.endswith(" --help\n")
    assert line.count("\n") == 1


def output_gone(*arguments: str) -> tuple[int, str]:
    """Run a command whose standard output nobody reads any more; return its exit code and stderr."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "pagethrift", *arguments]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    return done.returncode, done.stderr


def test_a_closed_output_ends_a_command_quietly() -> None:
    assert output_gone("strategies", "--json") == (141, "")
    assert output_gone("strategies") == (141, "")


def test_a_closed_output_does_not_hide_why_a_command_failed() -> None:
    code, said = output_gone("inspect", "/nowhere.stream")
    assert (code, said.count("\n")) == (2, 1)


def test_a_full_disk_behind_standard_output_is_said() -> None:
    command = [sys.executable, "-m", "pagethrift", "strategies", "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "pagethrift: writing: No space left on device\n")


def test_extras_are_those_of_the_package() -> None:
    assert set(metadata("pagethrift").get_all("Provides-Extra", [])) >= EXTRAS

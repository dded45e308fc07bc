"""How a command ends: whatever was raised becomes one line and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable

import typer

from pagethrift.errors import PagethriftError, UsageError, one_line

EXTRAS = frozenset({"sweep", "lab", "report"})
"""commands that need the extra of the same name: ``pip install '.[lab]'`` in its sources"""
STEERING = frozenset({"migrate", "record", "libvirt", "evacuate"})
"""commands whose exit code says where the guest is, whoever reads what they print"""
OUTPUT_CLOSED = 141
"""as of a program that SIGPIPE ends: whoever read standard output is gone"""
UNEXPECTED = 1
INTERRUPTED = 130
TRACEBACK = "PAGETHRIFT_TRACEBACK"
_LONGEST_LINE = 280


def exit_code_of(run: Callable[[], None], command: str) -> int:
    """Run a command and return its exit code; what went wrong is said on standard error, in one line.

    With PAGETHRIFT_TRACEBACK=1 in the environment the traceback is shown as well.
    """
    try:
        run()
        code = 0
    except BaseException as error:
        code = _said(error, command)
    return _flushed(code, command)


def complain(line: str) -> None:
    """Write a line to standard error, if that is still there."""
    with contextlib.suppress(OSError, ValueError):
        print(f"pagethrift: {line}", file=sys.stderr, flush=True)


def _said(error: BaseException, command: str) -> int:
    """Say why a command ended, unless it was meant to; return its exit code."""
    match error:
        case SystemExit() if isinstance(error.__context__, BrokenPipeError):  # how Rich ends
            return OUTPUT_CLOSED
        case SystemExit():
            return error.code if isinstance(error.code, int) else int(error.code is not None)
        case typer.Exit():
            return error.exit_code
        case BrokenPipeError():
            return OUTPUT_CLOSED
    if os.environ.get(TRACEBACK) == "1":
        traceback.print_exception(error)
    line, code = line_of(error, command)
    if line:
        print(line if line.startswith("pagethrift ") else f"pagethrift: {line}", file=sys.stderr)
    return code


def line_of(error: BaseException, command: str) -> tuple[str, int]:
    """Return the line that says what went wrong, and the exit code."""
    match error:
        case PagethriftError():
            return str(error), error.exit_code
        case KeyboardInterrupt() | typer.Abort():
            return "interrupted", INTERRUPTED
        case ModuleNotFoundError() if _of_an_extra(error, command):
            package = (error.name or "").partition(".")[0]
            install = f"pip install '.[{command}]' in its sources"
            return (
                f"pagethrift {command} needs the {command} extra: {install} ({package} is not installed)",
                UsageError.exit_code,
            )
        case MemoryError():
            return "out of memory", UNEXPECTED
        case OSError() if error.strerror:
            where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "writing"
            return one_line(f"{where}: {error.strerror}", _LONGEST_LINE), UNEXPECTED
    if hasattr(error, "format_message"):  # of the parser of the command line, whose classes moved
        return _refused(error, command), UsageError.exit_code
    said = one_line(f"{type(error).__name__}: {error}", _LONGEST_LINE - 80)
    return f"{said}; this is a fault of pagethrift, please report it with {TRACEBACK}=1", UNEXPECTED


def _of_an_extra(error: ModuleNotFoundError, command: str) -> bool:
    package, _, _ = (error.name or "").partition(".")
    return command in EXTRAS and bool(package) and package != "pagethrift"


def _refused(error: BaseException, command: str) -> str:
    message: str = error.format_message()  # type: ignore[attr-defined]
    if type(error).__name__ == "NoArgsIsHelpError":
        if message:
            print(message, file=sys.stderr)
        return ""
    context = getattr(error, "ctx", None)
    name = context.command_path if context is not None and command else f"pagethrift {command}".strip()
    return f"{one_line(message, _LONGEST_LINE - 60).rstrip('.')}; see {name} --help"


def _flushed(code: int, command: str) -> int:
    """Write out what standard output still holds; return the exit code."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # the interpreter tries again when it ends, and must not complain a second time
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if code or command in STEERING:
            return code
        if isinstance(error, BrokenPipeError):
            return OUTPUT_CLOSED
        print(f"pagethrift: standard output: {error.strerror}", file=sys.stderr)
        return UNEXPECTED
    return code

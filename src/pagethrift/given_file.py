"""Reading the files that users give: what cannot be read, or is not what it should be, is one line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pagethrift.errors import UsageError

MOST_BYTES = 64 << 20
"""of a file that is read whole; a specification has some kB, a facts log of an hour 20 MB"""


def read_bytes(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """Return a file's content. Raises UsageError when it cannot be read or is larger than ``most_bytes``."""
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL byte, or what is no file name
        raise UsageError(f"cannot read {str(path)!r}: {error}") from error
    if len(content) > most_bytes:
        raise UsageError(f"{path} is larger than {most_bytes >> 20} MiB; is it the right file?")
    return content


def read_text(path: Path) -> str:
    """Return a UTF-8 text. Raises UsageError."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text: byte {error.start} is not UTF-8") from error


def read_json(path: Path, most_bytes: int = MOST_BYTES) -> Any:
    """Return what a JSON file holds. Raises UsageError."""
    content = read_bytes(path, most_bytes)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds. Raises UsageError."""
    text = read_text(path)
    try:
        return tomllib.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # ValueError: also a number of more digits than Python reads
        raise UsageError(f"{path} is not TOML: {error}") from error


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Put the file's name before what this block finds wrong in its content."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error

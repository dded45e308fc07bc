"""Writing a file whole or not at all, and asking beforehand whether it can be written.

A file that is replaced by renaming must be a regular one: renaming onto a pipe, a device or a symbolic
link would put a file in its place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pagethrift.errors import UsageError

NAME_MAX = 255
"""bytes of a file name on Linux"""


def check_output(path: Path, option: str, stream: bool = False) -> Path:
    """Return the file that ``path`` leads to, links followed; raise UsageError when it cannot be written.

    ``option`` opens the error line. ``stream`` True: a pipe or a device will do, what is written needs no
    renaming and no seeking.
    """
    where = f"{option} {path}"
    try:
        target = path.resolve()
        kind = target.stat().st_mode if target.exists() else None
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"{where}: {getattr(error, 'strerror', None) or error}") from error
    if kind is not None and stat.S_ISDIR(kind):
        raise UsageError(f"{where}: is a folder; name a file in it")
    if kind is not None and not stat.S_ISREG(kind):
        if not stream:
            raise UsageError(f"{where}: is a pipe, a socket or a device; name a regular file")
        if not os.access(target, os.W_OK):
            raise UsageError(f"{where}: may not be written by this user")
        return target
    if not target.parent.is_dir():
        raise UsageError(f"{where}: there is no folder {target.parent}")
    if len(os.fsencode(target.name)) > NAME_MAX - len(".part"):
        raise UsageError(f"{where}: the file's name is too long")
    try:
        # a permission bit says little: the file system may be read-only, full or over a quota
        with tempfile.TemporaryFile(dir=target.parent) as trial:
            trial.write(b"\0" * 4096)
            trial.flush()
    except OSError as error:
        raise UsageError(f"{where}: cannot be written there: {error.strerror or error}") from error
    return target


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a draft beside ``path``, which takes its place when the block ends well and is removed otherwise.

    Links are followed. Raises OSError, also when ``path`` is no regular file.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "not a regular file")
    draft = target.with_name(target.name + ".part")
    try:
        yield draft
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text whole or not at all; into a pipe or a device directly. Raises OSError."""
    target = path.resolve()
    if target.exists() and not target.is_file():
        with target.open("w") as stream:
            stream.write(text)
        return
    with whole_file(target) as draft:
        draft.write_text(text)

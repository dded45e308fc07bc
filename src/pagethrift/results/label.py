"""Text from untrusted files, made fit for one line."""

from __future__ import annotations

_LONGEST_TEXT = 200


def label(text: object) -> str:
    """Return text fit for one line of any output: printable, at most 200 characters."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return line if len(line) <= _LONGEST_TEXT else line[: _LONGEST_TEXT - 1] + "…"

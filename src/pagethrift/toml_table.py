"""A TOML table read key by key, so that a key that nothing reads is reported as a mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pagethrift.errors import UsageError

T = TypeVar("T")
D = TypeVar("D")


class TomlTable:
    """A table whose keys are taken one by one; every error names the key with its path."""

    def __init__(self, data: Any, path: str = "") -> None:
        """Wrap parsed TOML; ``path`` is the table's place in the file, e.g. "link.". Raises UsageError."""
        if not isinstance(data, Mapping):
            raise UsageError(f"{path.rstrip('.')} must be a table")
        self.rest = dict(data)
        self._path = path

    def table(self, key: str) -> TomlTable:
        """Take a table; a missing one is empty. Raises UsageError."""
        return TomlTable(self.rest.pop(key, {}), f"{self._path}{key}.")

    def tables(self, key: str) -> list[TomlTable]:
        """Take an array of tables; a missing one is empty. Raises UsageError."""
        rows = self.get(key, list, [])
        return [TomlTable(row, f"{self._path}{key}[{number}].") for number, row in enumerate(rows)]

    def get(self, key: str, kind: type[T], default: T) -> T:
        """Take a value of a type. Raises UsageError."""
        value = self.rest.pop(key, default)
        if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
            raise UsageError(f"{self._path}{key} must be {kind.__name__}, not {value!r}")
        return value

    def quantity(self, key: str, parse: Callable[[str], T], default: D) -> T | D:
        """Take a value with a unit, read by ``parse``. Raises UsageError."""
        value = self.rest.pop(key, None)
        try:
            return default if value is None else parse(str(value))
        except UsageError as error:
            raise UsageError(f"{self._path}{key}: {error}") from error

    def refuse_rest(self) -> None:
        """Raise UsageError for a key that was not taken."""
        if self.rest:
            raise UsageError(f"unknown key {self._path}{next(iter(self.rest))}")

"""A TOML table read key by key, so that a key that nothing reads is reported as a mistake."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from pagethrift.errors import UsageError

_MOST = 1 << 63
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
        if isinstance(value, int) and not -_MOST <= value < _MOST:
            raise UsageError(f"{self._path}{key} must be a number of at most 63 bits")
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{self._path}{key} must be a finite number, not {value}")
        return value

    def count(self, key: str, default: int, least: int, most: int) -> int:
        """Take a whole number from ``least`` to ``most``. Raises UsageError."""
        value = self.get(key, int, default)
        if not least <= value <= most:
            raise UsageError(f"{self._path}{key} is {value}; it must be {least} to {most}")
        return value

    def texts(self, key: str, default: list[str]) -> list[str]:
        """Take an array of strings. Raises UsageError."""
        values = self.get(key, list, default)
        if wrong := [value for value in values if not isinstance(value, str)]:
            raise UsageError(f"{self._path}{key} must be texts in quotes, not {wrong[0]!r}")
        return values

    def record(self, kind: type[T]) -> T:
        """Take the fields of a dataclass, whose types tell what a value must be; others keep their defaults.

        Leaves nothing. Raises UsageError, also for what ``kind`` itself refuses.
        """
        hints = get_type_hints(kind)
        known = [each.name for each in fields(kind) if each.name in self.rest]  # type: ignore[arg-type]
        values = {name: self._of_type(name, hints[name]) for name in known}
        self.refuse_rest()
        try:
            return kind(**values)
        except UsageError as error:
            raise UsageError(f"{self._path.rstrip('.')}: {error}") from error

    def _of_type(self, key: str, hint: Any) -> Any:
        if isinstance(hint, UnionType):
            hint = next(each for each in get_args(hint) if each is not NoneType)
        if issubclass(hint, StrEnum):
            choices = [each.value for each in hint]
            text = self.rest.pop(key)
            if text not in choices:
                raise UsageError(f"{self._path}{key} is {text!r}; choose one of {', '.join(choices)}")
            return hint(text)
        if hint is float and type(self.rest[key]) is int:
            return self.get(key, int, 0)  # as it stands: digests of settings tell 3000 from 3000.0
        return self.get(key, hint, self.rest[key])

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

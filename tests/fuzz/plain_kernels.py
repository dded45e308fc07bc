"""Kernels as plain Python: their branches become coverage, and what they read outside an array raises."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from pagethrift import kernels


def _load64(array: Any, at: int) -> Any:
    import numpy as np

    _inside(array, at, 8)
    return np.uint64(int.from_bytes(array[at : at + 8].tobytes(), "little"))


def _load64_be(array: Any, at: int) -> Any:
    import numpy as np

    _inside(array, at, 8)
    return np.uint64(int.from_bytes(array[at : at + 8].tobytes(), "big"))


def _copy_bytes(target: Any, to: int, origin: Any, start: int, count: int) -> None:
    _inside(target, to, count)
    _inside(origin, start, count)
    target[to : to + count] = origin[start : start + count]


def _inside(array: Any, at: int, count: int) -> None:
    if at < 0 or count < 0 or at + count > len(array):
        raise IndexError(f"{count} bytes at {at} of {len(array)}")


_PLAIN: dict[str, Callable[..., Any]] = {
    "load64": _load64, "load64_be": _load64_be, "copy_bytes": _copy_bytes,
}  # fmt: skip


def _call(self: Any, *arguments: Any) -> Any:
    return _PLAIN[self._name](*arguments)


def run_as_python(names: Iterable[str]) -> None:
    """Make the kernels named (module:function) Python, for the rest of this process."""
    type(kernels.load64).__call__ = _call
    for name in names:
        module, _, function = name.partition(":")
        one = getattr(import_module(f"pagethrift.{module}"), function)
        one.__dict__["built"] = one.py_func

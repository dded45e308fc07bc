"""Kernels: functions over arrays that run as machine code.

Set-up compiles the data path's kernels into an extension module (``python -m pagethrift.build``) that
needs no Numba to run. Numba compiles a kernel at its first call if the module lacks it, or if it is
called with types it was not built for. Without a module for these sources and this processor, Numba
compiles all kernels so. Both run the same LLVM code. Nothing is read or loaded before the first call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

Word: TypeAlias = Any
"""a 64-bit word inside a kernel; Numba infers its type"""

F = TypeVar("F", bound=Callable[..., Any])


class Kernel:
    """A function that runs as machine code; other kernels can call it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.py_func = function
        self.symbol = f"{function.__module__}.{function.__qualname__}".replace(".", "_")

    def __call__(self, *arguments: Any) -> Any:
        if self.built is not None:
            result = self.built(*arguments)
            if result is not NotImplemented:
                return result
        return self.dispatcher(*arguments)

    @functools.cached_property
    def built(self) -> Callable[..., Any] | None:
        """The function in the module; it returns NotImplemented for types it was not built for."""
        from pagethrift.kernels import machine_code

        return getattr(machine_code.extension(), self.symbol, None)

    @functools.cached_property
    def dispatcher(self) -> Any:
        """Numba's own object for this function."""
        from pagethrift.kernels import jit, machine_code

        return jit.compile_kernel(self.py_func, machine_code.cache_folder())

    @property
    def _numba_type_(self) -> Any:
        """What Numba sees when another kernel calls this one."""
        return self.dispatcher._numba_type_


KERNELS: list[Kernel] = []
"""every kernel imported so far"""


def kernel(function: F) -> F:
    """Turn a function over arrays into a kernel: machine code, GIL released, no bounds checks."""
    KERNELS.append(Kernel(function))
    return cast(F, KERNELS[-1])


class _Intrinsic:
    """A function for kernels only; Numba asks for it when it compiles a kernel."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def _numba_type_(self) -> Any:
        from pagethrift.kernels import jit

        return jit.type_of_intrinsic(self._name)


load64: Any = _Intrinsic("load64")
load64_be: Any = _Intrinsic("load64_be")
store64_be: Any = _Intrinsic("store64_be")
copy_bytes: Any = _Intrinsic("copy_bytes")
mul_add_128: Any = _Intrinsic("mul_add_128")

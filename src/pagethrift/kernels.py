"""How kernels are found, or compiled.

Set-up compiles the data path's kernels into an extension module (``python -m pagethrift.build``) that
needs no Numba to run. A kernel that is not in it, or is called with types it was not built for, is
compiled by Numba at its first call, as all are where nothing was built, or for other sources or
another processor. Both ways run the same LLVM code.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

Word: TypeAlias = Any
"""a 64-bit word inside a kernel; Numba infers its type"""

F = TypeVar("F", bound=Callable[..., Any])

EXTENSION_NAME = "pagethrift_kernels"
ONLY_JIT = "PAGETHRIFT_JIT"
"""environment variable: if set, nothing that was built is used"""


@functools.cache
def source_digest(*floors: str) -> str:
    """Name the sources of these floors by their content, those above all floors included."""
    digest = hashlib.sha256()
    for floor in ("", *floors):
        for source in sorted((Path(__file__).parent / floor).glob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder(sources: str) -> str | None:
    """Return where compiled kernels are kept, named after all sources; None: nowhere may be written."""
    package = Path(__file__).parent
    beside = package / "__pycache__"
    home = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "pagethrift"
    base = beside if os.access(beside if beside.is_dir() else package, os.W_OK) else home
    folder = base / f"kernels-{sources}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return str(folder) if os.access(folder, os.W_OK) else None


def processor(cpuinfo: str) -> str:
    """Name the first processor of /proc/cpuinfo by its model and features.

    Machine code for one with AVX-512 must not run on one without.
    """
    first = cpuinfo.partition("\n\n")[0]
    facts = re.findall(r"^(?:model name|flags|CPU part|Features)\s*:.*", first, re.MULTILINE)
    return hashlib.sha256("\n".join([os.uname().machine, *facts]).encode()).hexdigest()[:16]


# Numba's cache looks at a kernel's own file only: after an edit to a function it calls from another
# file, stale machine code would run.
_SOURCES = source_digest("model", "stream", "content", "engine", "simulate")
_FOLDER = os.environ.get("NUMBA_CACHE_DIR") or _cache_folder(_SOURCES)


def extension_path() -> Path | None:
    """Return where the extension of these sources, this processor and this Python is, or would be."""
    if _FOLDER is None:
        return None
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpuinfo = file.read(16384)
    except OSError:
        cpuinfo = ""
    return Path(_FOLDER) / f"{EXTENSION_NAME}-{_SOURCES}-{processor(cpuinfo)}{EXTENSION_SUFFIXES[0]}"


def load_extension(path: Path | None) -> Any:
    """Return the extension module, or None where there is none or it cannot be loaded."""
    if path is None or not path.is_file():
        return None
    loader = ExtensionFileLoader(EXTENSION_NAME, str(path))
    spec = spec_from_file_location(EXTENSION_NAME, path, loader=loader)
    assert spec is not None
    try:
        return module_from_spec(spec)
    except ImportError:
        return None


EXTENSION: Any = None if os.environ.get(ONLY_JIT) else load_extension(extension_path())
"""the module in use, or None"""


class Kernel:
    """A function that runs as machine code; other kernels can call it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.py_func = function
        self.symbol = f"{function.__module__}.{function.__qualname__}".replace(".", "_")
        self.built: Callable[..., Any] | None = getattr(EXTENSION, self.symbol, None)
        """returns NotImplemented for arguments of types it was not built for"""

    def __call__(self, *arguments: Any) -> Any:
        if self.built is not None:
            result = self.built(*arguments)
            if result is not NotImplemented:
                return result
        return self.dispatcher(*arguments)

    @functools.cached_property
    def dispatcher(self) -> Any:
        """Numba's own object."""
        from pagethrift import jit

        return jit.compile_kernel(self.py_func, _FOLDER)

    @property
    def _numba_type_(self) -> Any:
        """What a kernel that calls this one sees."""
        return self.dispatcher._numba_type_


KERNELS: list[Kernel] = []
"""all that were imported"""


def kernel(function: F) -> F:
    """Make a function for arrays a kernel: machine code, GIL released, no bounds checks."""
    KERNELS.append(Kernel(function))
    return cast(F, KERNELS[-1])


class _Intrinsic:
    """Only kernels can call it; Numba asks for it when it compiles one."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def _numba_type_(self) -> Any:
        from pagethrift import jit

        return jit.type_of_intrinsic(self._name)


load64: Any = _Intrinsic("load64")
load64_be: Any = _Intrinsic("load64_be")
store64_be: Any = _Intrinsic("store64_be")
copy_bytes: Any = _Intrinsic("copy_bytes")
mul_add_128: Any = _Intrinsic("mul_add_128")

"""Where the machine code of kernels is kept: extension modules that were built, Numba's cache.

An extension is looked for in this order: built for this very processor (``python -m pagethrift.build``),
brought by the wheel for any processor with ``PORTABLE_FEATURES``. Each is named after the sources it was
built of; one of other sources is not found.

Only ``kernels`` imports this file, at the first call of a kernel: importing a floor reads no file.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
ROOMS = ("kernels", "model", "stream", "content", "engine", "simulator")
"""rooms that contain kernels, or constants that kernels use"""
EXTENSION_NAME = "pagethrift_kernels"
PACKAGED = PACKAGE / "_kernels"
"""where a wheel has its extension"""
PORTABLE = "x86-64-v3"
"""the level of the processor that a wheel's extension is for: Haswell, Zen and later"""
PORTABLE_FEATURES = {
    "abm": "lzcnt", "avx": "avx", "avx2": "avx2", "bmi1": "bmi", "bmi2": "bmi2", "cx16": "cx16",
    "f16c": "f16c", "fma": "fma", "lahf_lm": "sahf", "movbe": "movbe", "pni": "sse3", "popcnt": "popcnt",
    "sse4_1": "sse4.1", "sse4_2": "sse4.2", "ssse3": "ssse3", "xsave": "xsave",
}  # fmt: skip
"""what a processor of that level can: names in /proc/cpuinfo, and in LLVM. Linux lists avx only where it
saves the wide registers too"""
ONLY_JIT = "PAGETHRIFT_JIT"
"""environment variable: if set, the built module is not used"""


@functools.cache
def source_digest(*rooms: str) -> str:
    """Return a digest of the sources in these rooms and of the files beside the rooms."""
    digest = hashlib.sha256()
    for room in ("", *rooms):
        for source in sorted((PACKAGE / room).rglob("*.py") if room else PACKAGE.glob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _beside() -> Path:
    """Return the folder for compiled kernels beside the sources, named after all of them."""
    return PACKAGE / "__pycache__" / f"kernels-{source_digest(*ROOMS)}"


@functools.cache
def cache_folder() -> str | None:
    """Return the cache folder for compiled kernels, named after all sources; None: no folder is writable.

    Numba's own cache checks only the kernel's own file: after an edit to a function that the kernel calls
    from another file, stale machine code would run.
    """
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return chosen
    beside = PACKAGE / "__pycache__"
    home = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "pagethrift"
    may_beside = os.access(beside if beside.is_dir() else PACKAGE, os.W_OK)
    folder = _beside() if may_beside else home / _beside().name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return str(folder) if os.access(folder, os.W_OK) else None


def processor(cpuinfo: str) -> str:
    """Return a digest of the model and features of the first processor in /proc/cpuinfo.

    Machine code for a processor with AVX-512 must not run on one without it.
    """
    first = cpuinfo.partition("\n\n")[0]
    facts = re.findall(r"^(?:model name|flags|CPU part|Features)\s*:.*", first, re.MULTILINE)
    return hashlib.sha256("\n".join([os.uname().machine, *facts]).encode()).hexdigest()[:16]


@functools.cache
def _cpuinfo() -> str:
    """Return what the kernel says of the first processors; empty where it says nothing."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return file.read(16384)
    except OSError:
        return ""


def is_portable(cpuinfo: str, machine: str) -> bool:
    """Return whether the first processor of /proc/cpuinfo runs code for ``PORTABLE``."""
    flags = re.search(r"^flags\s*:(.*)", cpuinfo.partition("\n\n")[0], re.MULTILINE)
    return machine == "x86_64" and flags is not None and PORTABLE_FEATURES.keys() <= set(flags[1].split())


def extension_path() -> Path | None:
    """Return where set-up writes the extension of these sources, this processor and this Python."""
    folder = cache_folder()
    return None if folder is None else Path(folder) / _file_name(processor(_cpuinfo()))


def portable_name() -> str:
    """Return the file name of these sources' extension for ``PORTABLE`` and this Python."""
    return _file_name(PORTABLE)


def _file_name(processor_name: str) -> str:
    return f"{EXTENSION_NAME}-{source_digest(*ROOMS)}-{processor_name}{EXTENSION_SUFFIXES[0]}"


def _candidates() -> Iterator[Path]:
    """Yield where the extension may be, the fastest first."""
    mine = extension_path()
    if mine is not None:
        yield mine
    if not os.environ.get("NUMBA_CACHE_DIR"):  # an administrator may have built it for all users
        yield _beside() / _file_name(processor(_cpuinfo()))
    if is_portable(_cpuinfo(), os.uname().machine):
        yield PACKAGED / portable_name()


def load_extension(path: Path) -> Any:
    """Return the extension module, or None where there is none or it cannot be loaded."""
    if not path.is_file():
        return None
    loader = ExtensionFileLoader(EXTENSION_NAME, str(path))
    spec = spec_from_file_location(EXTENSION_NAME, path, loader=loader)
    assert spec is not None
    try:
        return module_from_spec(spec)
    except ImportError:
        return None


@functools.cache
def extension() -> Any:
    """Return the module in use, or None."""
    if os.environ.get(ONLY_JIT):
        return None
    return next((found for path in _candidates() if (found := load_extension(path)) is not None), None)

"""Where the machine code of kernels is kept: in the built extension module and in Numba's cache.

Only ``kernels`` imports this file, at the first call of a kernel: importing a floor reads no file.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
ROOMS = ("kernels", "model", "stream", "content", "engine", "simulator")
"""rooms that contain kernels, or constants that kernels use"""
EXTENSION_NAME = "pagethrift_kernels"
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
    base = beside if os.access(beside if beside.is_dir() else PACKAGE, os.W_OK) else home
    folder = base / f"kernels-{source_digest(*ROOMS)}"
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


def extension_path() -> Path | None:
    """Return the path of the extension for these sources, this processor and this Python."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpuinfo = file.read(16384)
    except OSError:
        cpuinfo = ""
    name = f"{EXTENSION_NAME}-{source_digest(*ROOMS)}-{processor(cpuinfo)}{EXTENSION_SUFFIXES[0]}"
    return Path(folder) / name


def load_extension(path: Path | None) -> Any:
    """Return the extension module, or None if it does not exist or cannot be loaded."""
    if path is None or not path.is_file():
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
    """Return the extension module in use, or None."""
    return None if os.environ.get(ONLY_JIT) else load_extension(extension_path())

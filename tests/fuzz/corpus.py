"""The corpora that are kept: one small archive for each target, and the inputs that once failed."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import cast

from tests.fuzz.target import Target

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
CRASHES = HERE / "crashes"
"""CRASHES/TARGET/NAME: an input that once failed"""
NAMES = tuple(sorted(path.stem for path in (HERE / "targets").glob("*.py") if path.stem != "__init__"))
"""of all targets"""
_CUTTER = ("stream.records:cut_records", "stream.records:_find_block", "stream.records:remember")
VISIBLE = {
    "multifd": (*_CUTTER, "stream.packets:cut_offsets"),
    "reader": _CUTTER,
    "thinner": _CUTTER,
    "xbzrle": ("stream.xbzrle:apply_delta",),
}
"""kernels (module:function) that mode "python" runs as Python, so that coverage sees them"""
MOST_KEPT_BYTES = 60_000
"""compressed, of one target's corpus"""
MOST_KEPT = 120
"""inputs of it: all are replayed in every test run"""
_EPOCH = (1980, 1, 1, 0, 0, 0)


def target(name: str) -> Target:
    """Return a target by its name."""
    return cast(Target, import_module(f"tests.fuzz.targets.{name}").TARGET)


def kept(name: str) -> list[bytes]:
    """Return a target's corpus."""
    path = CORPUS / f"{name}.zip"
    if not path.exists():
        return []
    with zipfile.ZipFile(path) as archive:
        return [archive.read(each) for each in archive.namelist()]


def crashes(name: str) -> dict[str, bytes]:
    """Return the inputs on which a target once failed, by file name."""
    return {path.name: path.read_bytes() for path in sorted((CRASHES / name).glob("*"))}


def keep(name: str, inputs: Iterable[bytes]) -> int:
    """Write a target's corpus, the shortest inputs first, as far as the bounds allow; return how many."""
    CORPUS.mkdir(exist_ok=True)
    path = CORPUS / f"{name}.zip"
    count = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for data in sorted(set(inputs), key=lambda each: (len(each), each)):
            if count == MOST_KEPT or (archive.fp is not None and archive.fp.tell() > MOST_KEPT_BYTES):
                break
            member = zipfile.ZipInfo(hashlib.sha256(data).hexdigest()[:12], _EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, data)
            count += 1
    return count


def unpack(name: str, folder: Path) -> None:
    """Write a target's seeds, corpus and former failures into a folder, a file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in (*target(name).seeds(), *kept(name), *crashes(name).values()):
        (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)

"""``python -m scripts.distribution FOLDER`` (``make dist``): is what lies there fit to be published?

This version's sdist and wheels: metadata by the standards of Python packages, the same in both; the sum of
every file; the licence; a description in Markdown.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.metadata import InvalidMetadata, Metadata
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from pagethrift import __version__
from pagethrift.errors import UsageError

SDIST, WHEEL = f"pagethrift-{__version__}.tar.gz", f"pagethrift-{__version__}-*.whl"
LICENSE = "LICENSE"


def faults(folder: Path) -> Iterator[str]:
    """Yield a line for each fault of this version's files. Raises UsageError when there are none of both."""
    sdist, wheels = folder / SDIST, sorted(folder.glob(WHEEL))
    if not sdist.exists() or not wheels:
        raise UsageError(f"{folder}: no {SDIST} or no wheel of it; run make wheel")
    try:
        parse_sdist_filename(sdist.name)
        with tarfile.open(sdist) as archive:
            top = sdist.name.removesuffix(".tar.gz")
            files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
            said = files[f"{top}/PKG-INFO"]
            assert said is not None
            published = said.read()
            names = {name.removeprefix(f"{top}/") for name in files}
    except (InvalidSdistFilename, KeyError, tarfile.TarError) as error:
        raise UsageError(f"{sdist}: {error}") from error
    yield from (f"{sdist.name}: {fault}" for fault in of_metadata(published))
    if LICENSE not in names:
        yield f"{sdist.name}: no {LICENSE}"
    for path in wheels:
        yield from (f"{path.name}: {fault}" for fault in of_wheel(path, published))


def of_metadata(content: bytes) -> Iterator[str]:
    """Yield what is wrong with the metadata of a distribution."""
    try:
        metadata = Metadata.from_email(content, validate=True)
    except ExceptionGroup as group:
        for error in group.exceptions:
            yield f"{error.field}: {error}" if isinstance(error, InvalidMetadata) else str(error)
        return
    if str(metadata.version) != __version__:
        yield f"version {metadata.version}, not {__version__}"
    if metadata.description_content_type != "text/markdown" or not metadata.description:
        yield "no description in Markdown"
    if not metadata.license_expression or metadata.license_files != [LICENSE]:
        yield "no licence expression, or no licence file"


def of_wheel(path: Path, published: bytes) -> Iterator[str]:
    """Yield what is wrong with a wheel, whose metadata should be those of its sdist."""
    try:
        parse_wheel_filename(path.name)
    except InvalidWheelFilename as error:
        yield str(error)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        (info,) = (name.removesuffix("/METADATA") for name in names if name.endswith(".dist-info/METADATA"))
        if archive.read(f"{info}/METADATA") != published:
            yield "its metadata are not those of the sdist"
        listed = {
            name: value for name, value, _ in csv.reader(archive.read(f"{info}/RECORD").decode().splitlines())
        }
        for name in names:
            wanted = "" if name == f"{info}/RECORD" else f"sha256={checksum(archive.read(name))}"
            if listed.get(name) != wanted:
                yield f"{name}: not as RECORD says"
        if f"{info}/licenses/{LICENSE}" not in names:
            yield f"no {LICENSE}"


def checksum(content: bytes) -> str:
    """Return a file's sum as RECORD writes it."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def main(arguments: list[str] | None = None) -> None:
    """Say what is wrong, and fail when anything is."""
    parser = argparse.ArgumentParser(prog="python -m scripts.distribution", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    found = list(faults(folder))
    if found:
        raise SystemExit("\n".join(found))
    print(f"{folder}: {SDIST} and its wheels are fit to be published")


if __name__ == "__main__":
    main()

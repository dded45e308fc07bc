"""sdist and wheel: fit to be published, and the wheel of the sdist is the wheel of the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from scripts import distribution

from pagethrift.errors import UsageError
from tests.install.conftest import INSTALL_S, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.long]


def build(folder: Path, tree: Path, *kinds: str) -> Path:
    """Build into ``folder`` what ``make dist`` builds, without kernels and without a download."""
    subprocess.run(
        [sys.executable, "-m", "build", *kinds, "--no-isolation", "--outdir", folder, tree],
        env=os.environ | {"SOURCE_DATE_EPOCH": "1790000000"}, check=True, stdout=sys.stderr,
        timeout=INSTALL_S,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("dist"), ROOT)


@pytest.fixture
def copied(both: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(both, tmp_path / "dist"))


def test_they_are_fit_to_be_published(both: Path) -> None:
    assert list(distribution.faults(both)) == []


def test_the_sdist_makes_the_same_wheel_as_the_tree(both: Path, tmp_path: Path) -> None:
    with tarfile.open(next(both.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (tree,) = (tmp_path / "unpacked").iterdir()
    of_sdist = next(build(tmp_path / "of_sdist", tree, "--wheel").glob("*.whl"))
    of_tree = next(build(tmp_path / "of_tree", ROOT, "--wheel").glob("*.whl"))
    assert of_sdist.read_bytes() == of_tree.read_bytes() == next(both.glob("*.whl")).read_bytes()


def rewritten(path: Path, name: str, before: bytes, after: bytes) -> None:
    """Change a file of a wheel, and leave the rest."""
    with zipfile.ZipFile(path) as archive:
        content = {info.filename: archive.read(info) for info in archive.infolist()}
    (found,) = (each for each in content if each.endswith(name))
    assert before in content[found]
    content[found] = content[found].replace(before, after)
    with zipfile.ZipFile(path, "w") as archive:
        for each, data in content.items():
            archive.writestr(each, data)


def test_a_changed_file_is_found(copied: Path) -> None:
    rewritten(next(copied.glob("*.whl")), "pagethrift/units.py", b"def ", b"def  ")
    (fault,) = distribution.faults(copied)
    assert fault.endswith("pagethrift/units.py: not as RECORD says")


def test_metadata_of_another_release_are_found(copied: Path) -> None:
    rewritten(next(copied.glob("*.whl")), "dist-info/METADATA", b"Apache-2.0", b"MIT")
    assert any(
        fault.endswith("its metadata are not those of the sdist") for fault in distribution.faults(copied)
    )


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (b"\nVersion: ", b"\nVersion: 9", "version 9"),
        (b"License-Expression: Apache-2.0", b"License-Expression: Nonsense-1", "license-expression"),
        (b"License-File: LICENSE\n", b"", "no licence"),
        (b"text/markdown", b"text/x-rst", "Markdown"),
        (b"Name: pagethrift", b"Name: !", "name"),
    ],
)
def test_wrong_metadata_are_named(both: Path, before: bytes, after: bytes, words: str) -> None:
    with zipfile.ZipFile(next(both.glob("*.whl"))) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("dist-info/METADATA"))
        content = archive.read(name)
    assert list(distribution.of_metadata(content)) == []
    head, _, body = content.partition(b"\n\n")
    assert before in head
    assert any(
        words in fault for fault in distribution.of_metadata(head.replace(before, after) + b"\n\n" + body)
    )


def test_a_folder_without_both_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run make wheel"):
        list(distribution.faults(tmp_path))

"""The guest image: order of modules, contents, and that its key follows its inputs."""

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pagethrift.errors import LabError
from pagethrift.lab.guest import image
from pagethrift.lab.guest.machine import ACTIVITIES


def fake_modules(folder: Path, needs: dict[str, str]) -> Path:
    (folder / "kernel").mkdir(parents=True)
    for name, depends in needs.items():
        info = f"ELF\0license=GPL\0depends={depends}\0x=y\0"
        (folder / "kernel" / f"{name}.ko").write_bytes(info.encode())
    (folder / "modules.builtin").write_text("kernel/drivers/built-in.ko\n")
    return folder


def test_modules_come_after_what_they_need_and_once(tmp_path: Path) -> None:
    needs = {"net": "ring,fail-over", "ring": "core", "core": "", "fail-over": "core"}
    modules = fake_modules(tmp_path, needs)
    names = [path.stem for path in image.module_closure(modules, ("net", "ring"))]
    assert sorted(names) == ["core", "fail-over", "net", "ring"]
    assert names.index("core") < names.index("ring") < names.index("net")
    assert names.index("core") < names.index("fail-over") < names.index("net")


def test_a_builtin_module_needs_no_file_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    modules = fake_modules(tmp_path, {"net": "built_in"})
    assert [path.stem for path in image.module_closure(modules, ("net",))] == ["net"]
    with pytest.raises(LabError, match="no module absent"):
        image.module_closure(modules, ("absent",))


@pytest.mark.usefixtures("lab_guest")
def test_the_image_holds_what_the_guest_needs() -> None:
    built = image.guest_image()
    assert image.guest_image() == built
    archive = gzip.decompress(built.initramfs.read_bytes())
    names = subprocess.run(["cpio", "-t", "--quiet"], input=archive, capture_output=True, check=True)
    inside = set(names.stdout.decode().split())
    assert {"init", "bin/busybox", "bin/memcached", "bin/activity", "lib64/ld-linux-x86-64.so.2"} <= inside
    assert {"modules/virtio_net.ko", "modules/net_failover.ko", "modules/virtio_balloon.ko"} <= inside
    assert image.READY_MARKER.encode() in archive
    assert "bin/redis-server" not in inside


@pytest.mark.usefixtures("lab_guest")
def test_a_further_program_is_there_with_its_libraries() -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server here; run scripts/setup-system.sh as root")
    archive = gzip.decompress(image.guest_image("redis-server").initramfs.read_bytes())
    names = subprocess.run(["cpio", "-t", "--quiet"], input=archive, capture_output=True, check=True)
    inside = set(names.stdout.decode().split())
    assert {"bin/memcached", "bin/redis-server"} <= inside
    assert any("libssl" in name for name in inside)


@pytest.mark.usefixtures("lab_guest")
def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(LabError, match="needs no-such-server"):
        image.guest_image("no-such-server")


def test_every_activity_has_its_place_in_the_script() -> None:
    script = Path(image.__file__).with_name("activity.sh").read_text()
    assert re.findall(r"^  ([a-z-]+)\)", script, re.MULTILINE) == list(ACTIVITIES)


@pytest.mark.usefixtures("lab_guest")
def test_a_changed_input_gives_another_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.guest_image()
    monkeypatch.setattr(image, "_INIT", image._INIT + "# changed\n")
    monkeypatch.setattr(image, "_build", lambda files, target: target.write_bytes(b""))
    after = image.guest_image()
    after.initramfs.unlink()
    assert after.initramfs != before.initramfs
    assert after.kernel == before.kernel

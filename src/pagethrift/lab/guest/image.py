"""The Linux guest: an initramfs of busybox, memcached and virtio modules, built once and cached."""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pagethrift.errors import LabError
from pagethrift.lab.guest.cache import cache_dir, locked
from pagethrift.lab.guest.packages import GuestKernel, kernel, shared_libraries

READY_MARKER = "pagethrift: guest is ready"
"""the line on the serial console once memcached accepts connections and the activity is prepared"""

MEMCACHED_PORT = 11211
REDIS_PORT = 6379

_ACTIVITY = Path(__file__).with_name("activity.sh")

_DISK_SCRIPT = Path(__file__).with_name("disk.sh")

_MODULES = ("virtio_pci", "virtio_net", "virtio_balloon")
_DISK_MODULES = ("virtio_blk", "ext4")

# All that differs between runs comes from the kernel command line, so that one image serves all runs.
_INIT = f"""#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
export PATH=/bin
while read -r module; do insmod "$module"; done </etc/module-order
memory=64
clear=0
extra=
activity=idle,0,0
for word in $(cat /proc/cmdline); do
  case $word in
    pt.ip=*) address=${{word#*=}} ;;
    pt.clear=1) clear=1 ;;
    pt.activity=*) activity=${{word#*=}} ;;
    pt.classes=*) classes=${{word#*=}} ;;
    pt.disk=*) disk=$(echo "${{word#*=}}" | tr , ' ') ;;
    pt.memory=*) memory=${{word#*=}} ;;
    pt.memcached=*) extra=$(echo "${{word#*=}}" | tr , ' ') ;;
  esac
done
if [ "$clear" = 1 ]; then
  # Booting leaves freed memory that is not zero. A file of zeros is put over it and deleted.
  # The lowest 16 MB, where the packed kernel was loaded, are kept for old devices unless told otherwise.
  mount -t tmpfs -o size=100% clear /tmp
  read -r ratios </proc/sys/vm/lowmem_reserve_ratio
  echo 0 0 0 0 >/proc/sys/vm/lowmem_reserve_ratio
  # Huge pages make the kernel keep up to 5 % free: writing into that starts the out-of-memory killer, which
  # finds nobody to kill but init, and the guest panics (seen with 768 MiB).
  read -r reserve_kib </proc/sys/vm/min_free_kbytes
  echo 1024 >/proc/sys/vm/min_free_kbytes
  free_kib=$(awk '/MemFree/ {{ print $2 }}' /proc/meminfo)
  # 12 MiB, and 1/256 of the file for the kernel's index of it, are left.
  dd if=/dev/zero of=/tmp/zeros bs=1M count=$(((free_kib - free_kib / 256) / 1024 - 12)) 2>/dev/null
  umount /tmp
  echo "$reserve_kib" >/proc/sys/vm/min_free_kbytes
  echo $ratios >/proc/sys/vm/lowmem_reserve_ratio
fi
ip link set lo up
if [ -n "$address" ]; then ip addr add "$address" dev eth0; ip link set eth0 up; fi
if [ -n "$disk" ]; then disk $disk & fi
# kpageflags is read by multiples of eight bytes only, which nc itself does not do.
if [ -n "$classes" ]; then nc -ll -p "$classes" -e dd if=/proc/kpageflags bs=64k 2>/dev/null & fi
memcached -u root -m "$memory" -t 2 -l 0.0.0.0 -p {MEMCACHED_PORT} $extra &
memcached=$!
while kill -0 $memcached; do
  if echo quit | nc 127.0.0.1 {MEMCACHED_PORT} 2>/dev/null; then break; fi
  sleep 0.05
done
READY="{READY_MARKER}" activity $(echo "$activity" | tr , ' ') &
wait $memcached
echo "pagethrift: memcached ended"
poweroff -f
"""


@dataclass(frozen=True, slots=True)
class GuestImage:
    """The files for ``-kernel`` and ``-initrd``."""

    kernel: Path
    initramfs: Path


def guest_image(*programs: str) -> GuestImage:
    """Return kernel and initramfs, built on the first call and again when an input has changed.

    ``programs`` of this machine, such as redis-server, are added beside memcached.
    Raises LabError when one of them, memcached, busybox-static or cpio is missing.
    """
    guest_kernel = kernel()
    files = _files(guest_kernel, ("memcached", *programs))
    digest = hashlib.sha256()
    for inside, outside in sorted(files.items()):
        digest.update(f"{inside}\0{'' if outside.is_absolute() else outside}\0".encode())
        if outside.is_absolute():
            digest.update(hashlib.sha256(outside.read_bytes()).digest())
    digest.update(_INIT.encode())
    target = cache_dir() / f"guest-{digest.hexdigest()[:16]}.cpio.gz"
    if not target.exists():
        with locked("guest"):
            if not target.exists():
                _build(files, target)
    return GuestImage(guest_kernel.image, target)


def module_closure(modules: Path, wanted: tuple[str, ...]) -> list[Path]:
    """Return the module files for ``wanted`` and their dependencies, in the order to load them.

    A name without a file counts as built into the kernel if modules.builtin lists it.
    Raises LabError otherwise.
    """
    by_name = {path.stem.replace("-", "_"): path for path in modules.rglob("*.ko")}
    builtin = (modules / "modules.builtin").read_text().replace("-", "_")
    order: list[Path] = []

    def visit(name: str) -> None:
        path = by_name.get(name)
        if path is None:
            if f"/{name}.ko" not in builtin:
                raise LabError(f"kernel {modules.name} has no module {name}; use a Debian cloud kernel")
            return
        if path in order:
            return
        # No depmod has run on an unpacked package: the dependencies are read from the modules' own
        # .modinfo section, NUL-separated "depends=a,b".
        match = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for needed in match[1].decode().split(",") if match else []:
            if needed:
                visit(needed.replace("-", "_"))
        order.append(path)

    for name in wanted:
        visit(name)
    return order


def _files(guest_kernel: GuestKernel, programs: tuple[str, ...]) -> dict[str, Path]:
    """Return path inside the image -> file to copy, or a relative path as the target of a link."""
    files = {"bin/busybox": _static_busybox(), "bin/activity": _ACTIVITY, "bin/disk": _DISK_SCRIPT}
    for name in programs:
        program = _program(name, name)
        files[f"bin/{name}"] = program
        for library in shared_libraries(program):
            files[str(library).lstrip("/")] = library.resolve()
    always = module_closure(guest_kernel.modules, _MODULES)
    for module in always:
        files[f"modules/{module.name}"] = module
    for module in module_closure(guest_kernel.modules, _DISK_MODULES):
        if module not in always:
            files[f"disk-modules/{module.name}"] = module
    return files


def _build(files: dict[str, Path], target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="guest-") as name:
        root = Path(name, "root")
        for folder in ("proc", "sys", "dev", "etc", "tmp"):
            (root / folder).mkdir(parents=True)
        for inside, outside in files.items():
            copy = root / inside
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(outside, copy)
            copy.chmod(0o755)
        for prefix in ("", "disk-"):
            modules = [f"/{inside}\n" for inside in files if inside.startswith(f"{prefix}modules/")]
            (root / f"etc/{prefix}module-order").write_text("".join(modules))
        (root / "etc/passwd").write_text("root::0:0:root:/:/bin/sh\n")
        (root / "init").write_text(_INIT)
        (root / "init").chmod(0o755)
        names = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
        done = subprocess.run(
            [_program("cpio", "cpio"), "--quiet", "-o", "-H", "newc", "-R", "0:0", "--reproducible"],
            input="\n".join(names).encode(),
            cwd=root,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()[:200]
            raise LabError(f"cpio failed on the guest image ({said}); check the space in {target.parent}")
        # Without gzip the start takes as long, but the freed and uncleared pages of the archive, which
        # migrate, are 11 MB instead of 5 MB.
        draft = Path(name, "initramfs")
        draft.write_bytes(gzip.compress(done.stdout, mtime=0))
        draft.replace(target)


def _program(name: str, package: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise LabError(f"the guest image needs {name}, which is not installed; install package {package}")
    return Path(found)


def _static_busybox() -> Path:
    path = _program("busybox", "busybox-static")
    # A dynamic executable names its loader, in an interpreter segment, in its first page.
    if b"/ld-linux" in path.read_bytes()[:4096]:
        raise LabError(f"{path} is not static; install package busybox-static in its place")
    return path

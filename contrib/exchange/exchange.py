#!/usr/bin/env python3
"""Puts pagethrift's service in the place of Unix sockets that others make for migrations.

A manager such as KubeVirt or Proxmox VE has a proxy that listens at a new Unix socket for each migration, and
QEMU connects to it. The service listens at slots, 0.in, 1.in ..., and connects to 0.out, 1.out ...

This program finds a socket of the manager's, such as /run/qemu-server/100.migrate, and a slot that is free.
It gives the manager's socket a second name, 0.out, and lets its first name be that of 0.in, by one rename:
whoever connects there reaches the service.

A socket is its inode, not its name, so the manager's proxy notices nothing. Whoever connected before the
rename is where it wanted to be, and migrates without pagethrift. No state is kept: a slot is free while its
0.in has one name. The names must be of one file system, and reached through one mount.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import glob
import os
import re
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

IN, OUT = ".in", ".out"
Inode = tuple[int, int]
"""file system and number: what a socket is"""
EXAMPLE = (
    "Example: exchange.py /run/pagethrift/service '/run/qemu-server/{}.migrate'"
    " --only-if '/etc/pve/local/qemu-server/{}.conf'"
)


@dataclass(frozen=True)
class Name:
    """A name in a folder that is held open: a folder that is exchanged for a link leads nowhere else."""

    folder: int
    name: str

    def stat(self) -> os.stat_result | None:
        """Return what has this name; None: nothing, or no socket."""
        with contextlib.suppress(OSError):
            found = os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
            return found if stat.S_ISSOCK(found.st_mode) else None
        return None

    def lives(self) -> bool:
        """Say whether somebody has this socket, without connecting: the type of the question is wrong."""
        if self.stat() is None:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            return probe.connect_ex(f"/proc/self/fd/{self.folder}/{self.name}") == errno.EPROTOTYPE

    def link(self, other: Name) -> None:
        """Give the socket one more name. Raises OSError."""
        os.link(self.name, other.name, src_dir_fd=self.folder, dst_dir_fd=other.folder, follow_symlinks=False)

    def move(self, other: Name) -> None:
        """Rename; what had the other name loses it. Raises OSError."""
        os.rename(self.name, other.name, src_dir_fd=self.folder, dst_dir_fd=other.folder)

    def own(self, user: int, group: int) -> None:
        """Give the socket to a user. Raises OSError."""
        os.chown(self.name, user, group, dir_fd=self.folder, follow_symlinks=False)

    def remove(self) -> None:
        """Remove the name if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.name, dir_fd=self.folder)


class Exchange:
    """Exchanges sockets that match a pattern, whose {} stands for what all names of a migration share."""

    def __init__(self, slots: str, pattern: str, only_if: str) -> None:
        self._slots, self._pattern, self._only_if = slots, pattern, only_if
        before, _, after = os.path.basename(pattern).partition("{}")
        self._name = re.compile(f"{re.escape(before)}(.+){re.escape(after)}")
        self._refused: set[Inode] = set()
        """whose migrations found no free slot, and may have begun"""

    def look(self) -> None:
        """Exchange what is new, and free the slots of what is over. Raises OSError: there are no slots."""
        with opened(self._slots) as folder:
            slots = [Name(folder, each) for each in sorted(os.listdir(folder)) if each.endswith(IN)]
            found = {(info.st_dev, info.st_ino): each for each in slots if (info := each.stat())}
            refused, self._refused = self._refused, set()
            for path in sorted(glob.glob(self._pattern.replace("{}", "*"))):
                try:
                    with opened(os.path.dirname(path)) as place:
                        self._meet(path, Name(place, os.path.basename(path)), found, refused)
                except OSError as error:  # it has gone meanwhile, or is not ours to touch
                    print(f"{path}: {error.strerror}", file=sys.stderr, flush=True)
            for slot in found.values():
                if free(slot):
                    out(slot).remove()

    def _meet(self, path: str, met: Name, slots: dict[Inode, Name], refused: set[Inode]) -> None:
        """Exchange one socket, or remove it where its migration is over. Raises OSError."""
        info = met.stat()
        if info is None:
            return
        key = info.st_dev, info.st_ino
        if slot := slots.get(key):
            if not out(slot).lives():
                met.remove()
            return
        if key in refused:
            self._refused.add(key)
            return
        named = self._name.fullmatch(met.name)
        if named is None or not met.lives():
            return
        condition = os.path.join(os.path.dirname(path), self._only_if.replace("{}", named[1]))
        if self._only_if and not os.path.lexists(condition):
            return
        slot = next((each for each in slots.values() if each.lives() and free(each)), None)
        if slot is None:
            self._refused.add(key)
            print(f"{path}: no slot is free; it migrates without pagethrift", file=sys.stderr, flush=True)
            return
        put(slot, met, info)
        print(f"{path}: through {slot.name}", flush=True)


def put(slot: Name, met: Name, info: os.stat_result) -> None:
    """Let a slot's socket have the name of one that was met. Raises OSError."""
    behind, new = out(slot), Name(met.folder, f".{slot.name}")
    ours = slot.stat()
    assert ours is not None
    behind.remove()
    met.link(behind)
    linked = behind.stat()
    if linked is None or linked.st_ino != info.st_ino:
        behind.remove()
        return
    if linked.st_uid != ours.st_uid:
        behind.own(ours.st_uid, ours.st_gid)  # ours connects there
    new.remove()
    slot.link(new)
    try:
        new.move(met)
    except OSError:
        new.remove()
        raise


def out(slot: Name) -> Name:
    """Return where the service connects to for a slot."""
    return Name(slot.folder, slot.name.removesuffix(IN) + OUT)


def free(slot: Name) -> bool:
    """Say whether a slot's socket has no other name."""
    info = slot.stat()
    return info is not None and info.st_nlink == 1


@contextlib.contextmanager
def opened(folder: str) -> Iterator[int]:
    """Hold a folder open, but no link to one. Raises OSError."""
    found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield found
    finally:
        os.close(found)


def main() -> None:
    """Look again and again, until told to end."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], epilog=EXAMPLE)
    parser.add_argument("slots", help="the folder with the service's 0.in, 1.in ...")
    parser.add_argument(
        "pattern", help="the manager's sockets: * as in a shell, and {} once, in the last part"
    )
    parser.add_argument(
        "--only-if",
        default="",
        help="a file that exists only where the migration begins; {} as in the pattern, and a relative path"
        " begins in the socket's folder",
    )
    parser.add_argument("--every", type=float, default=0.2, metavar="SECONDS", help="how often to look")
    options = parser.parse_args()
    if os.path.basename(options.pattern).count("{}") != 1 or options.pattern.count("{}") != 1:
        parser.error("the pattern needs {} once, in its last part, such as /run/qemu-server/{}.migrate")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    exchange = Exchange(options.slots, options.pattern, options.only_if)
    while True:
        with contextlib.suppress(FileNotFoundError):  # the service does not run
            exchange.look()
        time.sleep(options.every)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()

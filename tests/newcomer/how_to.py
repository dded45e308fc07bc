"""From a clean Debian 12 to a thinned ``virsh migrate``, with the commands that docs/recipes/virsh.md shows.

The commands are read from the document and typed as they stand. The guest is the lab's, under TCG.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pagethrift.lab.guest.image import READY_MARKER, guest_image
from pagethrift.model.result import MigrationResult
from pagethrift.units import format_bytes, format_seconds
from tests.documents import ROOT, fenced
from tests.newcomer.hosts import Host, hosts

RECIPE, INSTALLING = ROOT / "docs/recipes/virsh.md", ROOT / "docs/installing.md"
OPERATING, LIBVIRT, THREATS = (ROOT / f"docs/{name}.md" for name in ("operating", "libvirt", "threats"))
SETTINGS = "/etc/pagethrift/relay.conf"
GUEST_FOLDER = "/var/lib/libvirt/images"
SERIAL = "/var/log/libvirt/qemu/serial"
WAYS = ("A migration URI", "migration_host", "A nat rule")
BACK = "virsh migrate --live --p2p vm1 qemu+ssh://host1/system"
READY_S = 120.0
Step = dict[str, Any]


class HowTo:
    """What the operator of ``near`` does, so that guests leave for ``far`` thinned."""

    def __init__(self, near: Host, far: Host, said: Callable[[Step], None]) -> None:
        self._near, self._far, self._said = near, far, said

    def prepare(self) -> None:
        """Give both a guest's files, and start it: what an operator has before."""
        image = guest_image()
        words = "console=ttyS0 quiet panic=-1 pt.memory=32 pt.activity=random-writer,64,12"
        boot = (
            f"<kernel>{GUEST_FOLDER}/kernel</kernel><initrd>{GUEST_FOLDER}/initrd</initrd>"
            f"<cmdline>{words}</cmdline>"
        )
        text = (ROOT / "tests/libvirt/guest.xml").read_text().replace("@BOOT@", boot)
        text = re.sub(r"<qemu:commandline>.*</qemu:commandline>", "", text, flags=re.S)
        text = text.replace("<name>g<", "<name>vm1<").replace(
            "/run/guest/serial", "/var/log/libvirt/qemu/serial"
        )
        for host in (self._near, self._far):
            shutil.copy(image.kernel, host.root / GUEST_FOLDER.lstrip("/") / "kernel")
            shutil.copy(image.initramfs, host.root / GUEST_FOLDER.lstrip("/") / "initrd")
        (self._near.root / "root/vm1.xml").write_text(text)
        self._near.run("virsh define vm1.xml && virsh start vm1")
        deadline_s = time.monotonic() + READY_S
        while READY_MARKER not in self._near.run(f"cat {SERIAL}"):
            if time.monotonic() > deadline_s:
                raise RuntimeError("the guest did not start")
            time.sleep(0.5)

    def install(self, package: Path) -> Step:
        """Copy the package and install it with the document's command."""
        _, command = fenced(INSTALLING, "The Debian package")[0].splitlines()
        return self._timed("install", lambda: self._install(package, command))

    def first(self) -> Step:
        """The recipe's first way."""
        settings, commands, *_ = fenced(RECIPE, WAYS[0])
        return self._timed(WAYS[0], lambda: self._lead(settings, commands))

    def by_name(self) -> Step:
        """The destination names its address in the map."""
        line, command = fenced(RECIPE, WAYS[1])

        def do() -> None:
            self._far.run(f"cat >> /etc/libvirt/qemu.conf << 'END'\n{line}END\nsystemctl restart libvirtd")
            self._near.run(command)

        step = self._timed(WAYS[1], do)
        self._far.run("sed -i '/^migration_host/d' /etc/libvirt/qemu.conf; systemctl restart libvirtd")
        return step

    def by_nat(self) -> Step:
        """The kernel leads migrations to the service."""
        self._near.run("systemctl disable --now pagethrift-relay")
        settings, commands = fenced(RECIPE, WAYS[2])
        rule = next(text for text in fenced(OPERATING, "One service for a host") if "table inet" in text)
        (self._near.root / "root/redirect.nft").write_text(rule)
        return self._timed(WAYS[2], lambda: self._lead(settings, commands))

    def steered(self) -> Step:
        """A command beside virsh that steers; no service in between."""
        self._near.run("systemctl disable --now pagethrift-relay; nft delete table inet pagethrift")
        attach, virsh = fenced(RECIPE, "Keep the downtime limit")[0].splitlines()
        listening = "until ss -ltn | grep -q 127.77.0.2:49152; do sleep 0.1; done"
        command = f"{attach}\ntimeout {READY_S:.0f} bash -c '{listening}' && {virsh} && wait"
        step = self._timed("Keep the downtime limit", lambda: self._near.run(command))
        return step | {"downtime": self._downtime()}

    def by_pagethrift(self) -> Step:
        """The command in place of virsh."""
        (command,) = fenced(LIBVIRT, "Migrate a domain")
        step = self._timed("pagethrift libvirt migrate", lambda: self._near.run(command))
        found = MigrationResult.from_json((self._near.root / "root/result.json").read_text())
        return step | {
            "out": format_bytes(found.transferred_bytes),
            "took": format_seconds(found.total_time_s), "downtime": format_seconds(found.downtime_s or 0.0),
        }  # fmt: skip

    def relay_alone(self) -> Step:
        """The unit of one relay."""
        _, settings, start = fenced(THREATS, "The relay as a user of its own")[0].splitlines()

        listening = "until test -S /run/pagethrift/vm1/relay.sock; do sleep 0.1; done"
        running = "systemctl is-active pagethrift-relay@vm1"

        def do() -> None:
            self._near.run(f"{settings}; {start} && timeout {READY_S:.0f} bash -c '{listening}' && {running}")

        return self._timed("pagethrift-relay@vm1", do)

    def back(self) -> None:
        """Bring the guest back, without pagethrift: its map has the ports that libvirt needs to receive."""
        self._near.run("systemctl stop pagethrift-relay")
        self._far.run(BACK)
        self._near.run(
            "systemctl is-enabled --quiet pagethrift-relay && systemctl start pagethrift-relay; true"
        )

    def seen(self) -> Step:
        """What the recipe says to look at, and what it shows of the last migration."""
        commands = fenced(RECIPE, "See that it works")[0].splitlines()
        text = "\n".join(map(self._near.run, commands))
        led = re.findall(r"done; in ([\d.]+ \w+), out ([\d.]+ \w+), (\S+ \w+)", text)[-1]
        found = dict(zip(("in", "out", "took"), led, strict=True))
        return found | {"downtime": _downtime_in(text)}

    def _install(self, package: Path, command: str) -> None:
        folder = self._near.root / "root/build"
        folder.mkdir()
        shutil.copy(package, folder)
        self._near.run(command.partition("#")[0])

    def _lead(self, settings: str, commands: str) -> None:
        self._near.run(f"cat > {SETTINGS} << 'END'\n{settings}END")
        for command in commands.splitlines():
            self._near.run(command)

    def _downtime(self) -> str:
        return _downtime_in(self._near.run("virsh domjobinfo vm1 --completed"))

    def _timed(self, name: str, do: Callable[[], object]) -> Step:
        began_s = time.monotonic()
        do()
        step: Step = {"step": name, "seconds": round(time.monotonic() - began_s, 1)}
        self._said(step)
        return step


def _downtime_in(text: str) -> str:
    found = re.search(r"Total downtime:\s+(\d+)\s+ms", text)
    return f"{found[1]} ms" if found else ""


def follow(folder: Path, package: Path, said: Callable[[Step], None]) -> list[Step]:
    """Follow the recipe, each way once, between two clean hosts in a folder."""
    with hosts(folder) as (near, far):
        how_to = HowTo(near, far, said)
        how_to.prepare()
        steps = [how_to.install(package)]
        for way in (how_to.first, how_to.by_name, how_to.by_nat):
            steps.append(way() | how_to.seen())
            how_to.back()
        steps.append(how_to.steered())
        how_to.back()
        return [*steps, how_to.by_pagethrift(), how_to.relay_alone()]

"""Several tiny guests on one host, each with a QEMU that waits for it, and the plan that empties the host."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.qemu import machines
from tests.qemu.tiny import MIB, TinyGuest


@dataclass(frozen=True, slots=True)
class Leaver:
    """One guest: where it runs, and the QEMU that waits for it."""

    name: str
    source: machines.Machine
    destination: machines.Machine
    keys: Mapping[str, Any]
    """of its table in the plan"""

    def states(self) -> tuple[str, str]:
        """Return both run states."""
        return tuple(  # type: ignore[return-value]
            str(each.qmp.execute("query-status")["status"]) for each in (self.source, self.destination)
        )

    def runs_here(self) -> bool:
        """Whether it runs at the source; a destination of QEMU before 9.1 ends with a failed migration."""
        return bool(self.source.qmp.execute("query-status")["status"] == "running")

    def migrates(self) -> bool:
        """Whether the source is in the middle of a migration."""
        return bool(self.source.qmp.execute("query-migrate").get("status") == "active")


@contextlib.contextmanager
def leavers(
    near: machines.QemuLike,
    far: machines.QemuLike,
    guests: Mapping[str, TinyGuest],
    folder: Path,
    listen: Callable[[int], str],
    ram_bytes: int = 64 * MIB,
) -> Iterator[list[Leaver]]:
    """Start all guests, and a destination for each; end all. ``listen``: number -> HOST:PORT or unix:PATH."""
    with contextlib.ExitStack() as stack:
        found = []
        for number, (name, guest) in enumerate(guests.items()):
            monitors = {end: folder / f"{end}{number}.qmp" for end in "ab"}
            source, destination = (
                stack.enter_context(
                    start(binary, guest, folder, ram_bytes=ram_bytes, extra=_monitor(monitors[end]))
                )
                for start, binary, end in (
                    (machines.source, near, "a"),
                    (machines.destination, far, "b"),
                )
            )
            keys = {
                "name": name, "qmp": str(monitors["a"]), "to": listen(number),
                "destination_qmp": str(monitors["b"]),
            }  # fmt: skip
            found.append(Leaver(name, source, destination, keys))
        for each in found:
            each.source.wait_ready(60.0)
        yield found


def write_plan(path: Path, guests: Sequence[Leaver], head: Mapping[str, Any], **keys: Any) -> Path:
    """Write a plan: ``head`` are the keys of the host, ``keys`` of every guest beside its own."""
    lines = [f"{key} = {_toml(value)}" for key, value in head.items() if not isinstance(value, dict)]
    for name, table in head.items():
        if isinstance(table, dict):
            lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    for each in guests:
        lines += ["[[guest]]", *(f"{key} = {_toml(value)}" for key, value in {**keys, **each.keys}.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def _toml(value: Any) -> str:
    return json.dumps(value)  # texts, numbers, truth values and lists of them are written as in JSON


def _monitor(path: Path) -> Sequence[str]:
    return ("-qmp", f"unix:{path},server=on,wait=off")

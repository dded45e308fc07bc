"""What would make the destination refuse the guest, as far as both monitors tell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pagethrift.errors import QmpError
from pagethrift.live.qmp import QmpMonitor

_BLOCK = re.compile(r"^\s*(\S+)\s+\d+ [KMG]iB\s+0x[0-9a-f]+\s+(0x[0-9a-f]+)", re.MULTILINE)

RESIZED = "/rom@etc/"
"""tables that firmware reads; QEMU makes their blocks as long as the source says"""


@dataclass(frozen=True, slots=True)
class Machine:
    """What must be the same at both ends."""

    version: str
    kind: str
    """the versioned machine type"""
    memory_bytes: int
    cpus: int
    cpu_model: str
    devices: Mapping[str, int]
    """type (of a named one: name and type) -> how many the command line or an operator has added"""
    blocks: Mapping[str, int]
    """RAM block -> bytes in use; without those that the destination resizes by itself"""


async def machine_of(monitor: QmpMonitor) -> Machine:
    """Ask one QEMU. Raises QmpError."""
    kind = await monitor.execute("qom-get", {"path": "/machine", "property": "type"})
    memory = await monitor.execute("query-memory-size-summary")
    cpus = await monitor.execute("query-cpus-fast")
    model = await monitor.execute("qom-get", {"path": cpus[0]["qom-path"], "property": "type"})
    return Machine(
        version=monitor.version_text,
        kind=str(kind).removesuffix("-machine"),
        memory_bytes=int(memory["base-memory"]) + int(memory.get("plugged-memory", 0)),
        cpus=len(cpus),
        cpu_model=str(model),
        devices=await _devices(monitor),
        blocks=await _blocks(monitor),
    )


def differences(source: Machine, destination: Machine) -> list[str]:
    """Return a line for each thing for which the destination would refuse the guest."""
    found: list[str] = []

    def compare(what: str, ours: object, theirs: object) -> None:
        if ours != theirs:
            found.append(f"{what}: the source has {ours}, the destination {theirs}")

    compare("machine type", source.kind, destination.kind)
    compare("memory", f"{source.memory_bytes >> 20} MiB", f"{destination.memory_bytes >> 20} MiB")
    compare("number of CPUs", source.cpus, destination.cpus)
    compare("CPU model", source.cpu_model, destination.cpu_model)
    for name in sorted(source.devices.keys() | destination.devices.keys()):
        compare(f"device {name}", source.devices.get(name, 0), destination.devices.get(name, 0))
    if source.memory_bytes == destination.memory_bytes and source.blocks and destination.blocks:
        for name in sorted(source.blocks.keys() | destination.blocks.keys()):
            ours_bytes, theirs_bytes = source.blocks.get(name, 0), destination.blocks.get(name, 0)
            compare(f"RAM block {name}", f"{ours_bytes} bytes", f"{theirs_bytes} bytes")
    return found


async def unlike(source: QmpMonitor, destination: QmpMonitor) -> list[str]:
    """Return `differences` of two QEMUs. Raises QmpError."""
    return differences(await machine_of(source), await machine_of(destination))


async def _devices(monitor: QmpMonitor) -> Counter[str]:
    found: Counter[str] = Counter()
    for folder in ("peripheral", "peripheral-anon"):
        for child in await monitor.execute("qom-list", {"path": f"/machine/{folder}"}):
            kind = str(child["type"])
            if kind.startswith("child<"):
                name = f" {child['name']}" if folder == "peripheral" else ""
                found[kind[len("child<") : -1] + name] += 1
    return found


async def _blocks(monitor: QmpMonitor) -> dict[str, int]:
    """Return nothing where this QEMU does not say."""
    try:
        text: Any = await monitor.execute("human-monitor-command", {"command-line": "info ramblock"})
    except QmpError:
        return {}
    return {name: int(size, 16) for name, size in _BLOCK.findall(str(text)) if not name.startswith(RESIZED)}

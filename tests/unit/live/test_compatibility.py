"""What differs between two machines, a line each."""

from __future__ import annotations

from dataclasses import replace

from pagethrift.live.compatibility import Machine, differences

MACHINE = Machine(
    "10.0.2", "pc-i440fx-10.0", 64 << 20, 1, "qemu64-x86_64-cpu",
    {"virtio-net-pci net0": 1, "e1000": 2}, {"pc.ram": 64 << 20, "pc.bios": 262144},
)  # fmt: skip


def test_equal_machines_have_no_difference() -> None:
    assert differences(MACHINE, replace(MACHINE, version="10.1.0")) == []


def test_each_difference_has_a_line_with_both_sides() -> None:
    other = Machine(
        "7.2.0", "pc-q35-7.2", 128 << 20, 2, "max-x86_64-cpu",
        {"virtio-net-pci net0": 1, "e1000": 1, "pvpanic": 1}, {"pc.ram": 128 << 20, "pc.bios": 131072},
    )  # fmt: skip
    assert differences(MACHINE, other) == [
        "machine type: the source has pc-i440fx-10.0, the destination pc-q35-7.2",
        "memory: the source has 64 MiB, the destination 128 MiB",
        "number of CPUs: the source has 1, the destination 2",
        "CPU model: the source has qemu64-x86_64-cpu, the destination max-x86_64-cpu",
        "device e1000: the source has 2, the destination 1",
        "device pvpanic: the source has 0, the destination 1",
    ]


def test_a_rom_of_another_size() -> None:
    other = replace(MACHINE, blocks={"pc.ram": 64 << 20, "pc.bios": 131072})
    assert differences(MACHINE, other) == [
        "RAM block pc.bios: the source has 262144 bytes, the destination 131072 bytes"
    ]
    assert differences(MACHINE, replace(MACHINE, blocks={})) == [], "a QEMU that does not say is not blamed"

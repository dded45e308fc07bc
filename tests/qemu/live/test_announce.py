"""The destination QEMU tells the network by itself where the guest is now: pagethrift need not."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from pagethrift.live.migrate import migrate
from tests.qemu.live.pair import After, running_pair
from tests.qemu.machines import QemuLike

MAC = "52:54:00:12:34:56"
RARP = bytes.fromhex("8035")
ROUNDS = 5
"""QEMU's default of announce-rounds"""


def card(to: int) -> list[str]:
    """Return a network card whose packets go into UDP packets to a port of this machine."""
    wire = f"socket,id=net,udp=127.0.0.1:{to},localaddr=127.0.0.1:0"
    return ["-netdev", wire, "-device", f"e1000,netdev=net,mac={MAC},romfile="]


def test_rarp_for_each_card_five_times(binary: QemuLike, folder: Path) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as switch,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as old,
    ):
        for each in (switch, old):
            each.bind(("127.0.0.1", 0))
            each.settimeout(2)
        before, after = card(old.getsockname()[1]), card(switch.getsockname()[1])
        with running_pair(binary, folder, extra=before, destination_extra=after) as pair:
            asyncio.run(migrate(pair.options(), decider=After(round=1)))
            packets: list[bytes] = []
            try:
                while len(packets) < ROUNDS + 1:
                    packets.append(switch.recv(2048))
            except TimeoutError:
                pass
    mac = bytes.fromhex(MAC.replace(":", ""))
    assert [(packet[6:12], packet[12:14], packet[32:38]) for packet in packets] == [(mac, RARP, mac)] * ROUNDS

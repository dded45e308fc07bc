"""``python -m tests.qemu.restless_relay``: the relay, but the kind of frame changes again and again.

On standard error it says at its end how many frames it ended. No link that a test can have makes a relay do
so at times known before.
"""

from __future__ import annotations

import atexit
import sys

from pagethrift.cli.main import main
from pagethrift.engine.lanes import Lanes
from pagethrift.stream.encoding.packet import Packet, PacketEncoder

BETWEEN = 8

weighed = ended = 0
encode = PacketEncoder.pages


def weigh(lanes: Lanes, link_bps: float, long_pages_per_s: float) -> None:
    global weighed
    weighed += 1
    lanes.quick = weighed // BETWEEN % 2 == 1


def pages(encoder: PacketEncoder, packet: Packet) -> list[bytes]:
    global ended
    ended += packet.ends_frame
    return encode(encoder, packet)


Lanes.weigh = weigh  # type: ignore[method-assign, assignment]
PacketEncoder.pages = pages  # type: ignore[method-assign, assignment]
atexit.register(lambda: print(f"{ended} frames ended", file=sys.stderr))
main()

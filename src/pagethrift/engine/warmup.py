"""Calling every kernel of the data path once, so that none is compiled or loaded during a migration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pagethrift.engine.output import Output, PauseReason
from pagethrift.engine.thin import thin
from pagethrift.engine.thinner import Thinner
from pagethrift.model.channels import ChannelSettings, SyncMode
from pagethrift.model.pages import PAGE_BYTES, BlockTable
from pagethrift.strategies.base import HeldFacts, PageFacts
from pagethrift.strategies.pagethrift import pagethrift
from pagethrift.stream.packets import ChannelReader, PacketFlag
from pagethrift.stream.synthetic import StreamBuilder, handshake, packet


class _HoldEverything:
    def hold(self, facts: PageFacts) -> npt.NDArray[np.bool_]:
        return np.ones(len(facts.pages), np.bool_)

    def release(self, facts: HeldFacts) -> None:
        return None


def warm_up() -> None:
    """Run a tiny stream through every kernel, so that none compiles during a migration."""
    builder = StreamBuilder([("warm", 4)], return_path=True)
    for last in (False, True):
        builder.begin_body(last)
        for page, step in enumerate((1, 5, 7)):
            content = np.full(PAGE_BYTES, 3 if step < 7 else 0, np.uint8)
            content[:64] = step + last
            builder.page(0, page, content)
        builder.page(0, 3, b"")
        builder.end_body()
    stream = builder.finish()
    strategy = pagethrift()
    thin(stream, strategy, bytes(32))
    thin(stream, replace(strategy, hold=_HoldEverything()), bytes(32))
    _thin_over_channels(stream)
    reader = ChannelReader()
    reader.table = BlockTable.of([(b"warm", 2 * PAGE_BYTES)])
    data = handshake(0) + packet(flags=PacketFlag.SYNC) + packet("warm", zero=(0, 1))
    for _ in reader.feed(data):
        pass


def _thin_over_channels(stream: bytes) -> None:
    thinner, out = Thinner(pagethrift(), bytes(32), channels=ChannelSettings(1)), Output()
    thinner.room()[: len(stream)] = stream
    thinner.received(len(stream))
    while (why := thinner.run(out, 0.0)) is not PauseReason.NEED_INPUT:
        if why is PauseReason.PROBE:
            thinner.probed(SyncMode.ROUND)
        for job in thinner.jobs():
            if job.packet is not None:
                thinner.taken(job.packet, 1)

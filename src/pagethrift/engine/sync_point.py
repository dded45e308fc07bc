"""Syncs: when the compressed channels and main are put in order, and how the destination is asked about it.

A destination syncs at MULTIFD_FLUSH or at the end of each section of RAM. The wrong one of the two corrupts
its RAM silently, or hangs it. So it is never guessed: after RAM's first section a PING of our own goes out
without a SYNC of the channels. A destination that answers does not wait at the end of a section; one that
answers only after the SYNC does.
"""

from __future__ import annotations

import re

from pagethrift.model.channels import SyncMode
from pagethrift.stream.wire import Command, RamFlag, Section

PROBE_VALUE = 0x70746872
"""in our PING, and in the PONG that the source must not see: "pthr"; QEMU's own are 1 to 4"""
PROBE = bytes([Section.COMMAND]) + b"".join(
    value.to_bytes(size, "big") for value, size in ((Command.PING, 2), (4, 2), (PROBE_VALUE, 4))
)
FLUSH = int(RamFlag.MULTIFD_FLUSH).to_bytes(8, "big")
SYNC_ROOM = 64
"""output bytes that a sync or a probe may take"""
_FIRST_PER_ROUND = (8, 1)


def expected_mode(machine: str) -> SyncMode | None:
    """Return how a destination with this machine type syncs, as its version tells; None without a version.

    ``machine``: as the stream names it, such as pc-q35-7.2.
    """
    found = re.fullmatch(r"\D[\w-]*?-(\d{1,2})\.(\d{1,2})", machine)
    if found is None:
        return None
    version = int(found[1]), int(found[2])
    return SyncMode.ROUND if version >= _FIRST_PER_ROUND else SyncMode.SECTION

"""Syncs: when the compressed channels and main are put in order, and how the destination is asked about it.

A destination syncs at MULTIFD_FLUSH or at the end of each section of RAM. The wrong one of the two corrupts
its RAM silently, or hangs it. So it is never guessed: after RAM's first section a PING of our own goes out
without a SYNC of the channels. A destination that answers does not wait at the end of a section; one that
answers only after the SYNC does.
"""

from __future__ import annotations

import re

from pagethrift.engine.output import Output
from pagethrift.engine.packing import Packing
from pagethrift.errors import StreamError
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
    found = re.fullmatch(r"\D[\w-]*?-(\d{1,2})\.(\d{1,2})", machine, re.ASCII)
    if found is None:
        return None
    version = int(found[1]), int(found[2])
    return SyncMode.ROUND if version >= _FIRST_PER_ROUND else SyncMode.SECTION


class SyncPoints:
    """Where syncs stand in one stream to a destination with compressed channels."""

    def __init__(self) -> None:
        self.mode: SyncMode | None = None
        """how the destination syncs; None before the probe"""
        self.probing = False
        """the probe is in the stream, and nothing may follow before its answer"""
        self.in_last = False
        """main is in RAM's last section"""
        self._due = False
        self._owed = False
        self._ram_id = 0

    def ram_begins(self, ram_id: int) -> None:
        """Send the probe after RAM's first section, which begins now; ``ram_id`` is its section id."""
        self._due, self._ram_id = True, ram_id

    def probed(self, mode: SyncMode) -> None:
        """Say how the destination syncs."""
        self.mode, self.probing = mode, False

    def end_body(self, out: Output, packing: Packing, last: bool, set_aside: bool) -> None:
        """Sync before the end mark of a section of RAM, where that is needed.

        ``set_aside``: the end mark goes out later, with other bytes of main (``before_set_aside``).
        """
        if self.mode is None:
            return
        if self.mode is SyncMode.SECTION and set_aside:
            self._owed = True
        elif self.mode is SyncMode.SECTION or last or packing.lane_wanted:
            self.sync(out, packing)
        else:
            packing.flush()

    def before_set_aside(self, out: Output, packing: Packing, ends_own: bool) -> None:
        """Sync before bytes of main go out that end a section, of the source's or (``ends_own``) of ours."""
        if self._owed or (self.mode is SyncMode.SECTION and ends_own):
            self._owed = False
            self.sync(out, packing)

    def sync(self, out: Output, packing: Packing) -> None:
        """Sync before what follows in main: in round mode a mark, in section mode an end mark must follow."""
        out.mark_sync(packing.sync())
        if self.mode is SyncMode.ROUND:
            out.append(FLUSH)

    def sync_within(self, out: Output, packing: Packing, offset: int) -> None:
        """Sync among the records of a section of RAM. Raises StreamError."""
        self.sync(out, packing)
        if self.mode is not SyncMode.SECTION:
            return
        if self.in_last:  # cannot be cut in two; QEMU sends no page twice in it
            raise StreamError(
                offset, "each page once in the last section of RAM", "a delta of one sent before"
            )
        number = self._ram_id.to_bytes(4, "big")
        end = int(RamFlag.EOS).to_bytes(8, "big") + bytes([Section.FOOTER]) + number
        out.append(end + bytes([Section.PART]) + number)

    def probe_again(self, out: Output) -> None:
        """Write a section of RAM without pages and the probe once more, into an empty output."""
        number = self._ram_id.to_bytes(4, "big")
        out.append(bytes([Section.PART]) + number + int(RamFlag.EOS).to_bytes(8, "big"))
        out.append(bytes([Section.FOOTER]) + number + PROBE)

    def probe(self, out: Output, answers: bool, offset: int) -> None:
        """Write the probe, if it is due between two sections. Raises StreamError without a return path."""
        if not self._due:
            return
        if not answers:
            expected = "a return path (switch capability return-path on at the source, or use --compress off)"
            raise StreamError(offset, expected, "none")
        out.append(PROBE)
        self._due, self.probing = False, True

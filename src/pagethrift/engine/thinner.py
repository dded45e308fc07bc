"""The thinner: turns QEMU's stream into a legal stream without what the destination already holds.

This file keeps the state of the stream; engine/forwarder.py forwards the pages, one batch at a time. Neither
does I/O: the caller fills ``room()``, calls ``run()`` and sends the output.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pagethrift.content.ledger import Ledger
from pagethrift.engine.counters import Counters
from pagethrift.engine.decisions import Moment
from pagethrift.engine.forwarder import Forwarder
from pagethrift.engine.held import HeldPages
from pagethrift.engine.output import Output, PauseReason, StreamPhase
from pagethrift.engine.packing import Job, Packing
from pagethrift.engine.passes import Passes
from pagethrift.engine.signing import signer_for
from pagethrift.engine.source_channels import Channel, Channels, Frame
from pagethrift.engine.sync_point import SYNC_ROOM, SyncPoints, expected_mode
from pagethrift.errors import StreamError
from pagethrift.model.channels import ChannelSettings, SyncMode
from pagethrift.model.defaults import DOWNTIME_LIMIT_S, HOLD_BUDGET_BYTES
from pagethrift.model.pages import PAGE_BYTES, U64, BlockTable
from pagethrift.strategies.base import Strategy
from pagethrift.stream.encoding.packet import Packet
from pagethrift.stream.events import BodyBegins, BodyEnds, Event, Pages, RamBegins, RamEnds, Raw, Signal
from pagethrift.stream.input import NotUnderstood
from pagethrift.stream.reader import BATCH_PAGES, BUFFER_BYTES, StreamReader
from pagethrift.stream.writer import RUN_BYTES, room_bytes
from pagethrift.stream.xbzrle import first_broken

FLUSH_BYTES = 8
"""a MULTIFD_FLUSH record"""


class Thinner:
    """Thins one stream with one strategy.

    ``secret``: at least 32 random bytes, new for each migration (the signature key).
    ``base``: the RAM blocks whose content the destination already holds: name -> a row of signatures
    for each page, shape (pages, columns), made with the same secret; see `Ledger.begin_with`.
    ``room`` and ``received`` take the main channel. With multifd the caller also calls ``add_channel``
    for each channel, before it gives the main bytes that arrived after the channel had connected. When
    ``given_back`` returns a channel, the caller feeds and prepares it (see Channel) before the next ``run``.
    ``channels``: the destination takes compressed pages over these multifd channels. The caller gives
    ``jobs`` to their writers after each ``run``, and says ``taken`` for each packet. At RAM's first section
    ``run`` returns PROBE: the caller finds out how the destination syncs and calls ``probed``.
    After an error, what was already written agrees with the ledger, but the stream cannot go on:
    StreamError says why.
    """

    def __init__(
        self,
        strategy: Strategy,
        secret: bytes,
        hold_budget_bytes: int = HOLD_BUDGET_BYTES,
        batch_pages: int = BATCH_PAGES,
        run_bytes: int = RUN_BYTES,
        base: Mapping[bytes, U64] | None = None,
        channels: ChannelSettings | None = None,
    ) -> None:
        self.strategy = strategy
        self.counters = Counters()
        self.phase = StreamPhase.PREAMBLE
        self.warning = ""
        self._told_round: int | None = None
        self._passes = Passes()
        self.link_bps = 0.0
        """set by the caller, bytes per second; 0 while unknown"""
        self.downtime_limit_s = DOWNTIME_LIMIT_S
        self._going = False
        self._hold_pages = hold_budget_bytes // PAGE_BYTES
        self._batch_pages = batch_pages
        self._run_bytes = run_bytes
        self._reader = StreamReader(batch_pages=batch_pages)
        self._signer = signer_for(strategy.signing, secret)
        self._base = base or {}
        self.compressing = True
        """set by the caller: False while the link is faster than the compressor"""
        self._to_destination = channels
        self._syncs = SyncPoints()
        self._drop_bytes = 0
        self._scratch: npt.NDArray[np.uint8] = np.zeros(PAGE_BYTES, np.uint8)
        self._pending: Event | None = None
        self._raw_done = 0
        self._ended = False
        self._channels: Channels | None = None
        self._frame: Frame | None = None
        self._ram_id = 0
        self._sealed = False
        self._begin(BlockTable.of([]))

    def _begin(self, table: BlockTable) -> None:
        self.table = table
        self._forwarder = Forwarder(
            self.strategy, table, self._signer, self.counters,
            self._hold_pages, self._batch_pages, self._run_bytes, self._to_destination,
        )  # fmt: skip
        for block in table.blocks:
            if self._signer and block.name in self._base:
                rows = self._base[block.name]
                if rows.shape != (block.pages, self._signer.columns):
                    expected = f"block {block.name!r} of {len(rows)} pages, as in the base"
                    raise StreamError(self._reader.offset, expected, f"{block.pages} pages")
                self.ledger.begin_with(block.first_page + np.arange(block.pages), rows)

    @property
    def round(self) -> int:
        """QEMU's round: as it was told, or counted where nobody tells."""
        return self._passes.number if self._told_round is None else self._told_round

    @property
    def ledger(self) -> Ledger:
        """What the destination will hold after everything forwarded so far."""
        return self._forwarder.ledger

    @property
    def held(self) -> HeldPages:
        """The pages that wait in the relay."""
        return self._forwarder.held

    def room(self, want_bytes: int = BUFFER_BYTES) -> memoryview:
        """Return space to receive into; call only after ``run`` returned NEED_INPUT."""
        return self._reader.room(want_bytes)

    def received(self, count: int) -> None:
        """Say that ``count`` bytes were received; 0 means the stream ended."""
        self._ended = count == 0
        self.counters.main_in_bytes += count
        self._reader.received(count)

    @property
    def in_bytes(self) -> int:
        """Bytes received on all channels."""
        channels = self._channels.all if self._channels else ()
        return self.counters.main_in_bytes + sum(channel.received_bytes for channel in channels)

    @property
    def joinable(self) -> bool:
        """Whether a multifd channel may still be added: until the end of RAM's first section."""
        return self.phase is StreamPhase.PREAMBLE and not self._sealed

    @property
    def wants_main(self) -> bool:
        """False while main waits at a mark that some multifd channel has not reached."""
        return self._channels is None or not self._channels.waiting

    def add_channel(self) -> Channel:
        """Add a multifd channel; allowed while ``joinable``."""
        if not self.joinable:
            raise ValueError("multifd channels come before the end of RAM's first section")
        self._channels = self._channels or Channels(self.table)
        return self._channels.add(Channel(self._signer, self._batch_pages))

    def given_back(self) -> list[Channel]:
        """Return the channels whose event was used since the last call."""
        return self._channels.given_back() if self._channels else []

    def jobs(self) -> list[Job]:
        """Return what the compressed channels are to write after what they were given before."""
        packing = self._forwarder.packing
        found = list(packing.jobs) if packing else []
        if packing:
            packing.jobs.clear()
        return found

    def taken(self, packet: Packet, taken_bytes: int) -> None:
        """Say how many bytes a packet took; any thread may."""
        if self._forwarder.packing:
            self._forwarder.packing.taken(packet, taken_bytes)

    @property
    def packing(self) -> Packing | None:
        """The packets for compressed channels; None without them. Its sums may be read by any thread."""
        return self._forwarder.packing

    @property
    def expected_mode(self) -> SyncMode | None:
        """How the destination probably syncs, by the machine type; None if that does not tell."""
        return expected_mode(self._reader.machine)

    def probe_again(self, out: Output) -> None:
        """Ask the destination once more, in an empty output, after ``sync_channels``."""
        self._syncs.probe_again(out)

    def sync_channels(self) -> None:
        """Let every compressed channel write a SYNC, without a mark in main: for the probe."""
        if self._forwarder.packing:
            self._forwarder.packing.sync()

    def probed(self, mode: SyncMode) -> None:
        """Say how the destination syncs. The SYNC for RAM's first section, if it needs one, was given."""
        self._syncs.probed(mode)

    def begin_round(self, number: int) -> None:
        """Say that QEMU began a round (0 = first pass); from now on rounds are not counted here."""
        self._told_round = number

    def go(self) -> None:
        """Hold no more pages, and release all at the next section end: the switchover is decided."""
        self._going = True

    def run(self, out: Output, now_s: float) -> PauseReason:
        """Process received bytes into ``out``. Raises StreamError."""
        before = out.total_bytes
        if self._forwarder.packing and self._forwarder.lanes:
            self._forwarder.packing.settle(self.link_bps)
            self._forwarder.lanes.compressing = self.compressing and self._syncs.mode is not None
        try:
            return self._run(out, now_s)
        finally:
            self.counters.out_bytes += out.total_bytes - before

    def _run(self, out: Output, now_s: float) -> PauseReason:
        while not self._syncs.probing:
            stuck = self._advance(out, now_s)
            if self._channels and (stuck is None or stuck is PauseReason.NEED_INPUT):
                stuck = self._take_batch(self._channels, out, now_s) or stuck
            if stuck is not None:
                return stuck
        return PauseReason.PROBE

    def _advance(self, out: Output, now_s: float) -> PauseReason | None:
        """Handle main's next event; return why that was not possible, or None."""
        if self.phase is StreamPhase.PIPE:
            return self._pipe(out)
        if self._pending is None:
            try:
                self._pending = self._reader.next_event()
            except NotUnderstood as error:
                if self.phase is not StreamPhase.PREAMBLE or self._channels:
                    raise
                if self._to_destination:
                    raise StreamError(
                        error.offset,
                        f"{error.expected}, for compressed channels (--compress off goes without)",
                        error.got,
                    ) from error
                self.phase = StreamPhase.PIPE
                self.warning = f"{error}; forwarding everything untouched"
                return None
        if self._pending is Signal.NEED_DATA:
            self._pending = None
            return PauseReason.NEED_INPUT
        if self._pending is Signal.END:
            return PauseReason.ENDED
        if not self._handle(self._pending, out, now_s):
            return PauseReason.OUTPUT_FULL if self.wants_main else PauseReason.NEED_INPUT
        self._pending = None
        return None

    def _take_batch(self, channels: Channels, out: Output, now_s: float) -> PauseReason | None:
        channel = channels.next()
        found = channel.batch() if channel else None
        if channel is None or found is None or self._frame is None:
            return None
        batch, signs = found
        # room_bytes allows for the head of a PART section, too
        if out.free < room_bytes(batch.kind, batch.length):
            return PauseReason.OUTPUT_FULL
        self._frame.open(out)
        self.phase = StreamPhase.RAM
        self._passes.channels_sent()
        self._forwarder.forward(batch, out, self._moment(now_s), signs)
        channels.give_back(channel)
        return PauseReason.TAKEN

    def _handle(self, event: Event, out: Output, now_s: float) -> bool:
        match event:
            case Raw(data):
                if self._frame is None or self.phase is StreamPhase.TAIL:
                    self._leave_out(data)
                    return self._copy(data, out)
                self._frame.keep(data, self._reader.offset)
            case BodyBegins(last):
                self._syncs.in_last = last
                return self._at_section(out, begins=True)
            case Signal.SECTION_ENDS:
                return self._at_section(out, begins=False)
            case Signal.FLUSH:
                if not self._at_mark(flush=True):
                    return False
                self._passes.flushed()
            case RamBegins(table, section_id):
                self._ram_id = section_id
                self._syncs.ram_begins(section_id)
                try:
                    self._begin(table)
                except MemoryError:
                    size = f"{table.total_pages * PAGE_BYTES / 2**40:.3g} TiB"
                    expected = "RAM that fits a ledger in this machine's memory"
                    raise StreamError(self._reader.offset, expected, size) from None
                if self._channels:
                    self._channels.begin(table)
            case Pages(batch):
                bad = first_broken(batch.buffer, batch.position, batch.kind, batch.length, self._scratch)
                if bad >= 0:
                    got = f"a broken one for page {batch.page[bad]}"
                    raise StreamError(self._reader.offset, "an XBZRLE payload", got)
                if not self._forwarder.release_before(batch, out, self._moment(now_s)):
                    return False
                packing = self._forwarder.packing
                if out.free < room_bytes(batch.kind, batch.length) + (SYNC_ROOM if packing else 0):
                    return False
                self.phase = StreamPhase.RAM
                if packing and packing.is_in_channel(batch):
                    self._syncs.sync_within(out, packing, self._reader.offset)
                self._passes.main_sent(batch.page)
                self._forwarder.forward(batch, out, self._moment(now_s), lender=self._reader.received_in)
            case BodyEnds(last):
                if self._forwarder.packing and out.free < SYNC_ROOM:
                    return False
                if not self._forwarder.releasing and not self._at_mark(flush=False):
                    return False
                if not self._forwarder.release(out, self._moment(now_s), everything=last):
                    return False
                if self._forwarder.packing:
                    self._syncs.end_body(out, self._forwarder.packing, last, self._frame is not None)
                if self._channels:
                    self._channels.ram_over = last
            case RamEnds():
                self.phase = StreamPhase.TAIL
                if len(self.held):
                    raise StreamError(self._reader.offset, "no held page after RAM", f"{len(self.held)}")
            case _:
                raise AssertionError(event)
        return True

    def _at_section(self, out: Output, begins: bool) -> bool:
        """Put main in a place for page records, at the head or the end of a section; send the probe once."""
        packing = self._forwarder.packing
        if packing and out.free < SYNC_ROOM:
            return False
        if self._frame is not None:
            if packing:
                self._syncs.before_set_aside(out, packing, self._frame.closes_own)
            if not self._frame.put(out, begins) or (packing and out.free < SYNC_ROOM):
                return False
        if packing and not begins:
            self._syncs.probe(out, self._reader.return_path, self._reader.offset)
        return True

    def _leave_out(self, data: memoryview) -> None:
        """Leave out bytes of main that the destination must not see, at the beginning of ``data``."""
        if self._drop_bytes and not self._raw_done:
            self._raw_done = min(self._drop_bytes, len(data))
            self._drop_bytes -= self._raw_done

    def _at_mark(self, flush: bool) -> bool:
        """Return whether main may pass MULTIFD_FLUSH or the end of a section of RAM."""
        self._sealed = True
        if self._channels is None:
            if flush and self._to_destination:  # our own syncs take its place
                self._drop_bytes = FLUSH_BYTES
            return True
        if self._frame is None:
            self._frame = Frame(self._ram_id)
        if not flush:
            return self._channels.at_end_of_body(self._reader.offset)
        if not self._channels.at_flush(self._reader.offset):
            return False
        self._frame.drop(FLUSH_BYTES)
        return True

    def _moment(self, now_s: float) -> Moment:
        return Moment(now_s, self.round, self.link_bps, self.downtime_limit_s, self._going)

    def _copy(self, data: memoryview, out: Output) -> bool:
        count = min(out.free, len(data) - self._raw_done)
        piece: npt.NDArray[np.uint8] = np.frombuffer(data, np.uint8)[self._raw_done : self._raw_done + count]
        out.data[out.size : out.size + count] = piece
        out.size += count
        self._raw_done += count
        if self._raw_done < len(data):
            return False
        self._raw_done = 0
        return True

    def _pipe(self, out: Output) -> PauseReason:
        if self._pending is None:
            self._pending = Raw(self._reader.unread())
        assert isinstance(self._pending, Raw)
        if not self._copy(self._pending.data, out):
            return PauseReason.OUTPUT_FULL
        self._pending = None
        return PauseReason.ENDED if self._ended else PauseReason.NEED_INPUT

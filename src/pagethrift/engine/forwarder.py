"""The path of a page: signatures -> ledger -> decisions -> writer, one batch at a time (docs/pages.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pagethrift.content.ledger import ALL_CHANGED, Ledger
from pagethrift.content.signature import Sha256Signer, SubpageSigner
from pagethrift.engine.choice import keep_source_deltas, measure_payloads
from pagethrift.engine.counters import Counters
from pagethrift.engine.decisions import FORWARDED, Decisions, Moment
from pagethrift.engine.held import HeldPages
from pagethrift.engine.holding import HoldBuffer
from pagethrift.engine.lanes import Lanes
from pagethrift.engine.output import Output
from pagethrift.engine.packing import Packing
from pagethrift.engine.sync_point import SYNC_ROOM
from pagethrift.model.channels import ChannelSettings
from pagethrift.model.methods import Method
from pagethrift.model.pages import I32, I64, U8, U32, U64, BlockTable, Kind, PageBatch
from pagethrift.strategies.base import Strategy
from pagethrift.stream.input import Received
from pagethrift.stream.writer import NO_RUNS, PAGE_ROOM, RUNS, RecordWriter

RELEASE_PAGES = 256
"""held pages released at once"""

Signer = SubpageSigner | Sha256Signer


@dataclass(frozen=True, slots=True)
class _Records:
    """The contents of page records, as far as a choice needs them."""

    batch: PageBatch
    state: U8
    masks: U32
    subpage_bytes: int

    def measure(self, allowed: U8, payloads: I32) -> None:
        batch = self.batch
        measure_payloads(
            batch.buffer, batch.position, batch.kind, batch.page, self.state, self.masks,
            self.subpage_bytes, allowed, payloads,
        )  # fmt: skip

    def adjust(self, methods: U8, sizes: I32) -> None:
        """Leave a delta of the source's as it is; how long its record is, is known."""
        keep_source_deltas(self.batch.kind, self.batch.length, methods, sizes)


class Forwarder:
    """Forwards, holds or skips pages of the RAM blocks in ``table``; owns the ledger."""

    def __init__(
        self,
        strategy: Strategy,
        table: BlockTable,
        signer: Signer | None,
        counters: Counters,
        hold_budget_pages: int,
        batch_pages: int,
        run_bytes: int,
        channels: ChannelSettings | None = None,
    ) -> None:
        """``channels``: those that the destination takes compressed pages over."""
        self._signer = signer
        self._counters = counters
        self._batch_pages = batch_pages
        zero_row = signer.zero_row if signer else np.zeros(0, np.uint64)
        self.ledger = Ledger(table.total_pages, zero_row)
        self.held = HeldPages(table.total_pages, hold_budget_pages)
        self._hold_buffer = HoldBuffer(self.held)
        self._subpage_bytes = signer.subpage_bytes if signer else 0
        self.lanes = Lanes(channels, table.total_pages, self._subpage_bytes) if channels else None
        self.packing = Packing(channels, table, self.lanes, counters) if channels and self.lanes else None
        self._decisions = Decisions(
            strategy, self.ledger.state, self.held, counters, signer is not None, lanes=self.lanes
        )
        self._writer = RecordWriter(table, run_bytes=run_bytes)
        self._signs: U64 = np.zeros((batch_pages, signer.columns if signer else 0), np.uint64)
        self._masks: U32 = np.full(batch_pages, ALL_CHANGED, np.uint32)
        self._runs: I64 = np.empty((RUNS, 3), np.int64)
        self._to_release: I64 | None = None

    @property
    def releasing(self) -> bool:
        """Whether a release is unfinished: ``release`` found no room and must be called again."""
        return self._to_release is not None

    def forward(
        self,
        batch: PageBatch,
        out: Output,
        moment: Moment,
        signs: U64 | None = None,
        lender: Received | None = None,
        arriving: bool = True,
    ) -> None:
        """Forward, hold or skip the pages of a batch; ``out`` has room for all its records.

        ``signs``: their signatures, if already made. ``lender``: the receive buffer of the batch; whole
        records may be sent from it without a copy. ``arriving`` False: the pages were held.
        """
        pages, masks = batch.page, self._masks[: len(batch)]
        if signs is None:
            signs = self._signs[: len(batch)]
            if self._signer:
                self._signer.sign(batch, signs)
        if self._signer:
            self.ledger.compare(pages, batch.kind, signs, masks)
        records = _Records(batch, self.ledger.state, masks, self._subpage_bytes)
        methods, sizes = self._decisions.decide(pages, masks, records, moment, arriving)
        if arriving and len(self.held):
            self._hold_buffer.store(batch, np.flatnonzero(methods == Method.HOLD))
        runs = self._runs if lender is not None else NO_RUNS
        out.size, found = self._writer.write(
            batch, methods, masks, self._subpage_bytes, out.data, out.size, sizes, runs
        )
        if lender is not None:
            for at, start, stop in runs[:found].tolist():
                out.borrow(at, lender, start, stop)
        if self.lanes and self.packing and self.lanes.mark(pages, methods):
            self.packing.add(batch, methods, sizes, FORWARDED[self.ledger.state[pages]].view(np.uint8))
            sizes[methods == Method.CHANNEL] = 0  # counted when their packets are compressed
        self._counters.account(pages, methods, sizes, self.ledger.state)
        self.ledger.commit(pages, signs, methods)

    def release(self, out: Output, moment: Moment, everything: bool) -> bool:
        """Forward the held pages that the strategy wants to release, or all of them.

        Returns False when ``out`` is full: call again with an emptier output. Afterwards ``out`` has room
        for a sync if it had before.
        """
        if self._to_release is None:
            self._to_release = self._decisions.to_release(moment, everything)
        self._to_release = self._forward_held(self._to_release, out, moment)
        if len(self._to_release):
            return False
        self._to_release = None
        return True

    def release_before(self, batch: PageBatch, out: Output, moment: Moment) -> bool:
        """Forward the held pages that the batch has deltas of the source's against; False as ``release``.

        Such a delta is against what the source last sent, so that must be at the destination first: over
        main, as the delta itself, where the page is free to.
        """
        if not len(self.held):
            return True
        slots = self.held.slots(batch.page[batch.kind == Kind.XBZRLE])
        if self.lanes is None:
            return not len(self._forward_held(slots[slots >= 0], out, moment))
        compressing, self.lanes.compressing = self.lanes.compressing, False
        try:
            return not len(self._forward_held(slots[slots >= 0], out, moment))
        finally:
            self.lanes.compressing = compressing

    def _forward_held(self, slots: I64, out: Output, moment: Moment) -> I64:
        """Forward held pages as far as ``out`` has room; return the slots that are left."""
        while len(slots):
            some = slots[: min(self._batch_pages, RELEASE_PAGES)]
            if out.free < len(some) * PAGE_ROOM + (SYNC_ROOM if self.packing else 0):
                break
            batch = self._hold_buffer.batch(some)
            self.forward(batch, out, moment, arriving=False)
            self.held.drop(batch.page)
            slots = slots[len(some) :]
        return slots

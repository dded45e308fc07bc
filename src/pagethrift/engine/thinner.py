"""The thinner: QEMU's stream in, a legal stream without what the destination holds out.

reader -> signatures -> ledger -> strategy -> writer, one batch at a time. It does no
I/O: a shell fills ``room()``, calls ``run()`` and sends the output.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
import numpy.typing as npt

from pagethrift.content.ledger import ALL_CHANGED, Ledger
from pagethrift.content.signature import Sha256Signer, SubpageSigner
from pagethrift.engine.counters import Counters
from pagethrift.engine.holding import HoldBuffer
from pagethrift.errors import StreamError
from pagethrift.model.methods import Allow, Method
from pagethrift.model.pages import I32, I64, PAGE_BYTES, U8, U32, U64, BlockTable, PageBatch
from pagethrift.strategies.base import HeldFacts, PageFacts, Signing, Strategy
from pagethrift.stream.events import BodyEnds, Event, Pages, RamBegins, RamEnds, Raw, Signal
from pagethrift.stream.input import NotUnderstood
from pagethrift.stream.reader import BATCH_PAGES, BUFFER_BYTES, StreamReader
from pagethrift.stream.writer import PAGE_ROOM, RecordWriter, choose_methods

HOLD_BUDGET_BYTES = 64 << 20
OUTPUT_BYTES = BUFFER_BYTES + BATCH_PAGES * PAGE_ROOM
"""one receive buffer's worth, and room for the batch that fills it"""


class Output:
    """A reusable output buffer; holds at least one batch (batch pages x PAGE_ROOM bytes)."""

    def __init__(self, capacity_bytes: int = OUTPUT_BYTES) -> None:
        self.data: U8 = np.empty(capacity_bytes, np.uint8)
        self.size = 0

    def view(self) -> memoryview:
        """Return what was written."""
        return self.data.data[: self.size]

    @property
    def free(self) -> int:
        """Bytes that still fit."""
        return len(self.data) - self.size


class Progress(Enum):
    """Why ``run`` returned."""

    NEED_INPUT = "need input"
    OUTPUT_FULL = "output full"
    ENDED = "ended"


class Mode(Enum):
    """What the thinner is doing with bytes."""

    PREAMBLE = "preamble"
    RAM = "ram"
    TAIL = "tail"
    PIPE = "pipe"


class Thinner:
    """Thins one stream with one strategy.

    ``secret``: at least 32 random bytes, fresh for each migration (the signature key).
    Errors leave what was already written consistent with the ledger, but the stream
    cannot go on: StreamError says why.
    """

    def __init__(
        self,
        strategy: Strategy,
        secret: bytes,
        hold_budget_bytes: int = HOLD_BUDGET_BYTES,
        batch_pages: int = BATCH_PAGES,
    ) -> None:
        self.strategy = strategy
        self.counters = Counters()
        self.mode = Mode.PREAMBLE
        self.warning = ""
        self.round = 0
        self._going = False
        self._hold_pages = hold_budget_bytes // PAGE_BYTES
        self._batch_pages = batch_pages
        self._reader = StreamReader(batch_pages=batch_pages)
        self._signer = _signer(strategy.signing, secret)
        columns = self._signer.columns if self._signer else 0
        self._columns = columns
        self._subpage = PAGE_BYTES // columns if self._signer and self._signer.deltas else 0
        self._signs: U64 = np.zeros((batch_pages, columns), np.uint64)
        self._masks: U32 = np.full(batch_pages, ALL_CHANGED, np.uint32)
        self._methods: U8 = np.zeros(batch_pages, np.uint8)
        self._allowed: U8 = np.zeros(batch_pages, np.uint8)
        self._sizes: I32 = np.zeros(batch_pages, np.int32)
        self._before: U8 = np.zeros(batch_pages, np.uint8)
        self._pending: Event | None = None
        self._raw_done = 0
        self._to_release: I64 | None = None
        self._ended = False
        self._begin(BlockTable.of([]))

    def _begin(self, table: BlockTable) -> None:
        zero_row = self._signer.zero_row if self._signer else np.zeros(0, np.uint64)
        self.table = table
        self.ledger = Ledger(table.total_pages, zero_row)
        self.held = HoldBuffer(table.total_pages, self._hold_pages)
        self._arrivals: U8 = np.zeros(table.total_pages, np.uint8)
        self._writer = RecordWriter(table)

    def room(self, want_bytes: int = BUFFER_BYTES) -> memoryview:
        """Return space to receive into; call ``run`` until NEED_INPUT before asking."""
        return self._reader.room(want_bytes)

    def received(self, count: int) -> None:
        """Say that ``count`` bytes were received; 0 means the stream ended."""
        self._ended = count == 0
        self.counters.in_bytes += count
        self._reader.received(count)

    def begin_round(self, number: int) -> None:
        """Say that QEMU began a round (0 = first pass)."""
        self.round = number

    def go(self) -> None:
        """The switchover is decided: hold nothing more, release at the next section end."""
        self._going = True

    def run(self, out: Output, now_s: float) -> Progress:
        """Process received bytes into ``out``. Raises StreamError."""
        before = out.size
        try:
            return self._run(out, now_s)
        finally:
            self.counters.out_bytes += out.size - before

    def _run(self, out: Output, now_s: float) -> Progress:
        while True:
            if self.mode is Mode.PIPE:
                return self._pipe(out)
            if self._pending is None:
                try:
                    self._pending = self._reader.next_event()
                except NotUnderstood as error:
                    if self.mode is not Mode.PREAMBLE:
                        raise
                    self.mode = Mode.PIPE
                    self.warning = f"{error}; forwarding everything untouched"
                    continue
            if self._pending is Signal.NEED_DATA:
                self._pending = None
                return Progress.NEED_INPUT
            if self._pending is Signal.END:
                return Progress.ENDED
            if not self._handle(self._pending, out, now_s):
                return Progress.OUTPUT_FULL
            self._pending = None

    def _handle(self, event: Event, out: Output, now_s: float) -> bool:
        match event:
            case Raw(data):
                return self._copy(data, out)
            case RamBegins(table):
                self._begin(table)
            case Pages(batch):
                if out.free < len(batch) * PAGE_ROOM:
                    return False
                self.mode = Mode.RAM
                self._thin(batch, out, now_s, arriving=True)
            case BodyEnds(last):
                return self._release(out, now_s, last)
            case RamEnds():
                self.mode = Mode.TAIL
                if len(self.held):
                    raise StreamError(self._reader.offset, "no page owed after RAM", f"{len(self.held)} held")
            case _:
                raise AssertionError(event)
        return True

    def _thin(self, batch: PageBatch, out: Output, now_s: float, arriving: bool) -> None:
        n = len(batch)
        signs, masks, methods = self._signs[:n], self._masks[:n], self._methods[:n]
        sizes, before, pages = self._sizes[:n], self._before[:n], batch.page
        if batch.kind.max() == 2:
            raise StreamError(
                self._reader.offset, "full pages", "XBZRLE (switch capability xbzrle off at the source)"
            )
        if arriving:
            self.counters.arrive(pages, self._arrivals, before)
        if self._signer:
            self._signer.sign(batch, signs)
            self.ledger.compare(pages, batch.kind, signs, masks)
        sizes[:] = 0
        facts = PageFacts(
            now_s, self.round, pages, masks, self.ledger.state[pages] == 0, before, sizes,
            len(self.held), self.held.budget_pages,
        )  # fmt: skip
        self._allowed[:n] = self.strategy.encode.allow(facts)
        if not self._signer:
            self._allowed[:n] &= ~np.uint8(Allow.SKIP | Allow.DELTA)
        choose_methods(
            batch.buffer, batch.position, batch.kind, pages, self.ledger.state, masks,
            self._columns, self._subpage, self._allowed[:n], methods, sizes,
        )  # fmt: skip
        if arriving:
            self._hold(batch, facts, methods, now_s)
        out.size = self._writer.write(
            batch, methods, masks, self._columns, self._subpage, out.data, out.size, sizes
        )
        self.counters.account(pages, methods, sizes, self.ledger.state)
        self.ledger.commit(pages, signs, methods)

    def _hold(self, batch: PageBatch, facts: PageFacts, methods: U8, now_s: float) -> None:
        """Take pages out of the batch into the hold buffer; newer content replaces or cancels older."""
        wish = None if self._going else self.strategy.hold.hold(facts)
        if wish is None:
            if len(self.held):
                self.held.drop(batch.page)
            return
        wish = np.asarray(wish, np.bool_) & (methods != Method.SKIP)
        self.held.drop(batch.page[~wish])
        chosen = np.flatnonzero(wish)
        refused = self.held.put(batch, chosen, facts.sizes, now_s, self.round)
        self.held.drop(batch.page[refused])
        wish[refused] = False
        methods[wish] = Method.SKIP

    def _release(self, out: Output, now_s: float, last: bool) -> bool:
        if self._to_release is None:
            self._to_release = self._chosen_to_release(now_s, everything=last or self._going)
        while len(self._to_release):
            slots = self._to_release[: self._batch_pages]
            if out.free < len(slots) * PAGE_ROOM:
                return False
            batch = self.held.batch(slots)
            self._thin(batch, out, now_s, arriving=False)
            self.held.drop(batch.page)
            self._to_release = self._to_release[self._batch_pages :]
        self._to_release = None
        return True

    def _chosen_to_release(self, now_s: float, everything: bool) -> I64:
        slots = self.held.used()
        if everything or not len(slots):
            return slots
        pages = self.held.page_in[slots]
        wish = self.strategy.hold.release(
            HeldFacts(
                now_s, self.round, pages, self.held.since_s[slots], self.held.since_round[slots],
                self._arrivals[pages],
            )
        )  # fmt: skip
        return slots[:0] if wish is None else slots[np.asarray(wish, np.bool_)]

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

    def _pipe(self, out: Output) -> Progress:
        if self._pending is None:
            self._pending = Raw(self._reader.unread())
        assert isinstance(self._pending, Raw)
        if not self._copy(self._pending.data, out):
            return Progress.OUTPUT_FULL
        self._pending = None
        return Progress.ENDED if self._ended else Progress.NEED_INPUT


def _signer(signing: Signing, secret: bytes) -> SubpageSigner | Sha256Signer | None:
    match signing:
        case Signing.NOTHING:
            return None
        case Signing.SUBPAGES:
            if len(secret) < 32:
                raise ValueError("the signature secret needs at least 32 bytes")
            return SubpageSigner.from_secret(secret)
        case Signing.SHA256:
            return Sha256Signer.make()


def thin(
    stream: bytes, strategy: Strategy, secret: bytes, hold_budget_bytes: int = HOLD_BUDGET_BYTES
) -> bytes:
    """Thin a whole stream in memory. Raises StreamError."""
    thinner, out, result = Thinner(strategy, secret, hold_budget_bytes), Output(), bytearray()
    view = memoryview(stream)
    while True:
        progress = thinner.run(out, 0.0)
        result += out.view()
        out.size = 0
        if progress is Progress.ENDED:
            return bytes(result)
        if progress is Progress.NEED_INPUT:
            room = thinner.room()
            count = min(len(room), len(view))
            room[:count] = view[:count]
            view = view[count:]
            thinner.received(count)

"""In-process measures: each stage of the data path alone, and the whole without input and output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scripts.bench.mixes import StreamFile
from scripts.bench.rounds import Sample

from pagethrift.content.ledger import Ledger
from pagethrift.content.signature import SUBPAGE_BYTES, Sha256Signer, SubpageSigner
from pagethrift.engine.choice import Payload, choose_methods, measure_payloads
from pagethrift.engine.output import Output, PauseReason
from pagethrift.engine.thinner import Thinner
from pagethrift.model.methods import Allow, Method
from pagethrift.model.pages import U8, U32, BlockTable, PageBatch
from pagethrift.strategies.table import strategy
from pagethrift.stream.events import Pages, RamBegins, Signal
from pagethrift.stream.reader import BATCH_PAGES, BUFFER_BYTES, StreamReader
from pagethrift.stream.writer import RUNS, RecordWriter, room_bytes

SECRET = bytes(range(32))
_ALLOWED = Allow.SKIP | Allow.DELTA | Allow.SPARSE


def chunks(stream: StreamFile, room: Callable[[], memoryview]) -> Iterator[tuple[int, bool]]:
    """Read a stream piece by piece into ``room()``; yield (bytes, whether the clock runs)."""
    with stream.path.open("rb", buffering=0) as file:
        at = 0
        while at < stream.total_bytes:
            timed = at >= stream.prefix_bytes
            stop = stream.total_bytes if timed else stream.prefix_bytes
            space = room()
            count = file.readinto(space[: min(len(space), stop - at)])
            at += count
            yield count, timed


def _sample(stream: StreamFile, elapsed_ns: int) -> Sample:
    return Sample(elapsed_ns / 1e9, stream.measured_bytes, stream.measured_pages)


def batches(stream: StreamFile, batch_pages: int = BATCH_PAGES) -> Iterator[tuple[PageBatch, bool]]:
    """Yield every page batch of a stream and whether the clock runs."""
    reader = StreamReader(batch_pages=batch_pages)
    for count, timed in chunks(stream, reader.room):
        reader.received(count)
        while (event := reader.next_event()) not in (Signal.NEED_DATA, Signal.END):
            if isinstance(event, Pages):
                yield event.batch, timed


def table_of(stream: StreamFile) -> BlockTable:
    """Return a stream's blocks."""
    reader = StreamReader()
    for count, _ in chunks(stream, reader.room):
        reader.received(count)
        while (event := reader.next_event()) is not Signal.NEED_DATA:
            if isinstance(event, RamBegins):
                return event.table
    raise RuntimeError("no RAM in the stream")


def copy_alone(stream: StreamFile) -> Sample:
    """memcpy between two buffers of the reader's size: the least any relay that copies can take."""
    here, there = np.ones(BUFFER_BYTES, np.uint8), np.ones(BUFFER_BYTES, np.uint8)
    elapsed_ns = 0
    for count, timed in chunks(stream, lambda: here.data):
        began_ns = time.perf_counter_ns()
        there[:count] = here[:count]
        if timed:
            elapsed_ns += time.perf_counter_ns() - began_ns
    return _sample(stream, elapsed_ns)


def reader_alone(stream: StreamFile) -> Sample:
    """Cut page records out of the receive buffer."""
    reader = StreamReader()
    elapsed_ns = 0
    for count, timed in chunks(stream, reader.room):
        began_ns = time.perf_counter_ns()
        reader.received(count)
        while reader.next_event() not in (Signal.NEED_DATA, Signal.END):
            pass
        if timed:
            elapsed_ns += time.perf_counter_ns() - began_ns
    return _sample(stream, elapsed_ns)


def signer_alone(stream: StreamFile, signer: SubpageSigner | Sha256Signer) -> Sample:
    """Sign every page, batch by batch, where the reader left it."""
    out = np.zeros((BATCH_PAGES, signer.columns), np.uint64)
    elapsed_ns = 0
    for batch, timed in batches(stream):
        began_ns = time.perf_counter_ns()
        signer.sign(batch, out[: len(batch)])
        if timed:
            elapsed_ns += time.perf_counter_ns() - began_ns
    return _sample(stream, elapsed_ns)


@dataclass(frozen=True, slots=True)
class Decisions:
    """What the ledger answers, batch by batch, so that the writer can be timed without it."""

    states: list[U8]
    masks: list[U32]

    @classmethod
    def of(cls, stream: StreamFile) -> Decisions:
        """Run signer and ledger over a stream."""
        signer = SubpageSigner.from_secret(SECRET)
        ledger = Ledger(table_of(stream).total_pages, signer.zero_row)
        signs = np.zeros((BATCH_PAGES, signer.columns), np.uint64)
        forwarded = np.full(BATCH_PAGES, Method.FULL, np.uint8)
        made = cls([], [])
        for batch, _ in batches(stream):
            n = len(batch)
            masks = np.zeros(n, np.uint32)
            signer.sign(batch, signs[:n])
            ledger.compare(batch.page, batch.kind, signs[:n], masks)
            made.states.append(ledger.state[batch.page])
            made.masks.append(masks)
            ledger.commit(batch.page, signs[:n], forwarded[:n])
        return made


def writer_alone(stream: StreamFile, decisions: Decisions) -> Sample:
    """Choose methods and emit records, from recorded decisions."""
    writer, out = RecordWriter(table_of(stream)), Output()
    methods, sizes = np.zeros(BATCH_PAGES, np.uint8), np.zeros(BATCH_PAGES, np.int32)
    payloads = np.zeros((BATCH_PAGES, len(Payload)), np.int32)
    runs = np.empty((RUNS, 3), np.int64)
    allowed, index = np.full(BATCH_PAGES, int(_ALLOWED), np.uint8), np.arange(BATCH_PAGES)
    elapsed_ns = 0
    for number, (batch, timed) in enumerate(batches(stream)):
        n = len(batch)
        state, masks = decisions.states[number], decisions.masks[number]
        if out.free < room_bytes(batch.kind, batch.length):
            out.clear()
        began_ns = time.perf_counter_ns()
        measure_payloads(
            batch.buffer, batch.position, batch.kind, index[:n], state, masks,
            SUBPAGE_BYTES, allowed[:n], payloads[:n],
        )  # fmt: skip
        choose_methods(index[:n], state, masks, allowed[:n], payloads[:n], methods[:n], sizes[:n])
        out.size, _ = writer.write(
            batch, methods[:n], masks, SUBPAGE_BYTES, out.data, out.size, sizes[:n], runs
        )
        if timed:
            elapsed_ns += time.perf_counter_ns() - began_ns
    return _sample(stream, elapsed_ns)


def thin_alone(stream: StreamFile, name: str, batch_pages: int = BATCH_PAGES) -> Sample:
    """Reader and thinner, without input and output."""
    thinner, out = Thinner(strategy(name), SECRET, batch_pages=batch_pages), Output()
    elapsed_ns = 0
    for count, timed in chunks(stream, thinner.room):
        began_ns = time.perf_counter_ns()
        thinner.received(count)
        while thinner.run(out, 0.0) is PauseReason.OUTPUT_FULL:
            out.clear()
        out.clear()
        if timed:
            elapsed_ns += time.perf_counter_ns() - began_ns
    return _sample(stream, elapsed_ns)


def stage_measures(stream: StreamFile, strategies: tuple[str, ...]) -> dict[str, Callable[[], Sample]]:
    """Return the in-process measures for ``interleave``."""
    signer, decisions = SubpageSigner.from_secret(SECRET), Decisions.of(stream)

    def thinning(name: str) -> Callable[[], Sample]:
        return lambda: thin_alone(stream, name)

    return {
        **{f"thin {name}, in process": thinning(name) for name in strategies},
        "SHA-256 alone": lambda: signer_alone(stream, Sha256Signer.make()),
        "signatures alone": lambda: signer_alone(stream, signer),
        "reader alone": lambda: reader_alone(stream),
        "writer alone": lambda: writer_alone(stream, decisions),
        "memcpy alone": lambda: copy_alone(stream),
    }

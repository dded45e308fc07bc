"""The simulator's hot loops over pages and writes."""

from __future__ import annotations

import numpy as np

from pagethrift.content.ledger import State
from pagethrift.engine.choice import Payload
from pagethrift.kernels import kernel
from pagethrift.model.methods import Method
from pagethrift.model.pages import F64, I32, I64, PAGE_BYTES, U8, U16, U32
from pagethrift.stream.encoding.delta import delta_bytes

LOGGED, FETCHED = 1, 2
"""a page's bits in the hypervisor's dirty log: written; read by QEMU's sync and not cleared yet"""


@kernel
def play_writes(
    until_s: float, offset_s: float, loop: int, cursor: int,
    times: F64, pages: I32, contents: I32, changed: U16, deltas: U16, sparses: U16,
    content: I64, sparse: U16, since_mask: U32, since_delta: I32, log: U8, written_s: F64,
) -> int:  # fmt: skip
    """Apply the trace's writes up to ``until_s`` (guest time); return the next write's index.

    In later loops a new content differs from that of the loop before; zero pages and rewrites of the
    same content do not.
    """
    n = len(times)
    high = np.int64(loop) << 32
    while cursor < n and times[cursor] + offset_s <= until_s:
        page = pages[cursor]
        if changed[cursor] != 0:
            fresh = np.int64(contents[cursor])
            content[page] = fresh | high if fresh != 0 else 0
            since_mask[page] |= np.uint32(changed[cursor])
            total = since_delta[page] + np.int32(deltas[cursor])
            since_delta[page] = min(total, np.int32(1 << 20))
            sparse[page] = sparses[cursor]
        log[page] |= LOGGED
        written_s[page] = times[cursor] + offset_s
        cursor += 1
    return cursor


@kernel
def sync_bitmap(log: U8, bitmap: U8, left_out: U8, clear_now: bool) -> int:
    """Add the log to the bitmap; return how many pages are newly dirty.

    A left-out page that is written is in use again, and is no longer left out.
    """
    fresh = 0
    for page in range(len(log)):
        if log[page] & LOGGED:
            left_out[page] = 0
            if bitmap[page] == 0:
                bitmap[page] = 1
                fresh += 1
            log[page] = 0 if clear_now else LOGGED | FETCHED
    return fresh


@kernel
def _clear_chunk(log: U8, begin: int, end: int) -> None:
    """Clear the bits that the last sync fetched; later writes stay in the log."""
    for page in range(begin, min(end, len(log))):
        if log[page] & FETCHED:
            log[page] = 0


@kernel
def read_dirty(
    bitmap: U8, position: int, done: int, begin_s: float, step_s: float, chunk_pages: int, cleared: U8,
    offset_s: float, loop_ends_s: float, loop: int, cursor: int,
    times: F64, pages: I32, contents: I32, changed: U16, deltas: U16, sparses: U16,
    content: I64, sparse: U16, since_mask: U32, since_delta: I32, log: U8, written_s: F64,
    out_page: I64, out_content: I64, out_sparse: U16, out_mask: U32, out_delta: I32, out_guest_s: F64,
) -> tuple[int, int, int, bool]:  # fmt: skip
    """Read dirty pages in order, each at its own time, and clear the bitmap and chunks of the log.

    Returns (pages done, position, cursor, whether the trace must begin again before the next page).
    """
    n = len(times)
    while done < len(out_page):
        now = begin_s + done * step_s
        if cursor < n and times[cursor] + offset_s <= now:
            cursor = play_writes(
                now, offset_s, loop, cursor, times, pages, contents, changed, deltas, sparses,
                content, sparse, since_mask, since_delta, log, written_s,
            )  # fmt: skip
        if n > 0 and cursor == n and loop_ends_s <= now:
            return done, position, cursor, True
        while bitmap[position] == 0:
            position += 1
            if position == len(bitmap):
                position = 0
        page = position
        bitmap[page] = 0
        if chunk_pages > 0:
            chunk = page // chunk_pages
            if cleared[chunk] == 0:
                cleared[chunk] = 1
                _clear_chunk(log, chunk * chunk_pages, (chunk + 1) * chunk_pages)
        out_page[done] = page
        out_content[done] = content[page]
        out_sparse[done] = sparse[page]
        out_mask[done] = since_mask[page]
        out_delta[done] = since_delta[page]
        out_guest_s[done] = now
        since_mask[page] = 0
        since_delta[page] = 0
        position = page + 1 if page + 1 < len(bitmap) else 0
        done += 1
    return done, position, cursor, False


@kernel
def payloads_of_trace(
    contents: I64, sparses: U16, masks: U32, deltas: I32, pages: I64, state: U8,
    subpage_bytes: int, exact: bool, payloads: I32,
) -> None:  # fmt: skip
    """Write the bytes of payloads from ids and sizes, as engine.choice.measure_payloads does from contents.

    ``exact``: a delta is byte-exact XBZRLE instead of whole subpages.
    """
    for i in range(len(pages)):
        payloads[i, Payload.SPARSE.value] = np.int32(sparses[i]) if contents[i] != 0 else 0
        payloads[i, Payload.DELTA.value] = PAGE_BYTES
        if exact:
            payloads[i, Payload.DELTA.value] = deltas[i]
        elif subpage_bytes > 0 and state[pages[i]] != State.NEVER:
            payloads[i, Payload.DELTA.value] = delta_bytes(masks[i], subpage_bytes)


@kernel
def commit(
    pages: I64, contents: I64, methods: U8, masks: U32, deltas: I32,
    content: I64, state: U8, owed_mask: U32, owed_delta: I32,
) -> None:  # fmt: skip
    """Record what the destination holds now as ``content``; a page held or skipped wrongly stays owed."""
    for i in range(len(pages)):
        page = pages[i]
        if methods[i] in (Method.SKIP, Method.HOLD):
            owed_mask[page] = masks[i]
            owed_delta[page] = deltas[i]
            continue
        content[page] = contents[i]
        state[page] = State.ZERO if contents[i] == 0 else State.KNOWN
        owed_mask[page] = 0
        owed_delta[page] = 0


@kernel
def find_faults(
    begin_s: float, stall_s: float, cursor: int, times: F64, pages: I32, arrives_s: F64
) -> tuple[int, float]:
    """Play writes against the arrival of pages (seconds from ``begin_s``); return (faults, stalled s).

    ``arrives_s`` is changed: a requested page arrives after ``stall_s``. Pages fault one after the other,
    as on one vCPU.
    """
    faults = 0
    stalled = 0.0
    for i in range(cursor, len(times)):
        now = times[i] - begin_s + stalled
        page = pages[i]
        if now < arrives_s[page]:
            wait = min(arrives_s[page] - now, stall_s)
            arrives_s[page] = now + wait
            stalled += wait
            faults += 1
    return faults, stalled

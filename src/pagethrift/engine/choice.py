"""Choosing, of the methods that are allowed and certain to be right, the one with the fewest bytes.

The engine knows contents, the simulator knows sizes from a trace: each fills in what the payloads would
take, a column for each ``Payload``, and ``choose_methods`` chooses for both.
"""

from __future__ import annotations

from enum import IntEnum

from pagethrift.content.ledger import State
from pagethrift.kernels import kernel
from pagethrift.model.methods import Allow, Method
from pagethrift.model.pages import I32, I64, PAGE_BYTES, U8, U32, Kind
from pagethrift.stream.encoding.delta import DELTA_HEAD_BYTES, delta_bytes
from pagethrift.stream.encoding.full import FULL_BYTES
from pagethrift.stream.encoding.sparse import sparse_bytes
from pagethrift.stream.encoding.zero import ZERO_BYTES

SKIP, DELTA, SPARSE, CHANNEL = (int(each) for each in (Allow.SKIP, Allow.DELTA, Allow.SPARSE, Allow.CHANNEL))
"""Numba knows no IntFlag"""
ONLY_CHANNEL = 16
"""set by the engine beside Allow's: the page must not travel on main (engine/lanes.py)"""


class Payload(IntEnum):
    """Columns of an array of payload bytes, shape (pages, len(Payload)): what a choice compares."""

    SPARSE = 0
    """against a page of zeros; 0: the page is all zero"""
    DELTA = 1
    """against the page that the destination holds"""
    CHANNEL = 2
    """compressed, over the page's channel; an estimate"""


@kernel
def measure_payloads(
    buffer: U8,
    positions: I64,
    kinds: U8,
    pages: I64,
    state: U8,
    masks: U32,
    subpage_bytes: int,
    allowed: U8,
    payloads: I32,
) -> None:
    """Write the bytes of each page's payloads, a column for each ``Payload``.

    PAGE_BYTES stands for a payload that is not needed. ``subpage_bytes`` is 0 if the bits of a mask do not
    stand for parts of the page.
    """
    for i in range(len(pages)):
        known = state[pages[i]] != State.NEVER and state[pages[i]] != State.UNSEEN
        sparse = delta = PAGE_BYTES
        if kinds[i] == Kind.ZERO:
            sparse = 0
        elif allowed[i] & SPARSE and not (known and masks[i] == 0 and allowed[i] & SKIP):
            sparse = sparse_bytes(buffer, positions[i]) if kinds[i] == Kind.PAGE else PAGE_BYTES
        if allowed[i] & DELTA and known and subpage_bytes > 0:
            delta = delta_bytes(masks[i], subpage_bytes)
        payloads[i, Payload.SPARSE.value] = sparse
        payloads[i, Payload.DELTA.value] = delta


@kernel
def smallest_method(state: int, mask: int, allowed: int, payloads: I32) -> tuple[int, int]:
    """Return a page's method and the bytes of its records; ``payloads``: its row. See ``choose_methods``."""
    sparse, delta = payloads[Payload.SPARSE.value], payloads[Payload.DELTA.value]
    known = state != State.NEVER and state != State.UNSEEN
    if known and mask == 0 and allowed & SKIP:
        return Method.SKIP, 0
    if allowed & ONLY_CHANNEL:
        return Method.CHANNEL, payloads[Payload.CHANNEL.value]
    if sparse == 0:
        return Method.ZERO, ZERO_BYTES
    best = FULL_BYTES
    method = Method.FULL
    if allowed & SPARSE:
        if state == State.ZERO and allowed & DELTA and DELTA_HEAD_BYTES + sparse < best:
            best = DELTA_HEAD_BYTES + sparse
            method = Method.FROM_ZERO
        elif ZERO_BYTES + DELTA_HEAD_BYTES + sparse < best:
            best = ZERO_BYTES + DELTA_HEAD_BYTES + sparse
            method = Method.SPARSE
    if allowed & DELTA and known and mask != 0 and DELTA_HEAD_BYTES + delta < best:
        best = DELTA_HEAD_BYTES + delta
        method = Method.DELTA
    if allowed & CHANNEL and payloads[Payload.CHANNEL.value] < best:
        best = payloads[Payload.CHANNEL.value]
        method = Method.CHANNEL
    return method, best


@kernel
def choose_methods(
    pages: I64, state: U8, masks: U32, allowed: U8, payloads: I32, methods: U8, sizes: I32
) -> None:
    """Choose a method for each page; write Method values and each page's estimated bytes.

    ``state`` and ``masks`` are the ledger's, ``allowed`` holds Allow values; ``payloads``, shape
    (pages, len(Payload)), the bytes of the payloads (``measure_payloads``).
    """
    for i in range(len(pages)):
        methods[i], sizes[i] = smallest_method(state[pages[i]], masks[i], allowed[i], payloads[i])


@kernel
def keep_source_deltas(kinds: U8, lengths: I32, methods: U8, sizes: I32) -> None:
    """Let the source's own deltas travel as they came, whatever was chosen; a delta has no other form."""
    for i in range(len(kinds)):
        if kinds[i] == Kind.XBZRLE:
            methods[i] = Method.SOURCE_DELTA
            sizes[i] = DELTA_HEAD_BYTES + lengths[i]

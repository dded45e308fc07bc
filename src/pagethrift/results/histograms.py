"""The latency histograms of a client, packed: they are half of a lab result's bytes.

A client's report has one HdrHistogram (V2, deflated, base64) of all operations and one for each phase.
Deflated bytes do not compress again, and the first histogram is nearly the sum of the others. Packing
inflates all of them, for the archive's own compression, and keeps of the first only what no phase has. The
counts come back on every machine. The text comes back unchanged where zlib deflates as on the machine that
wrote the archive. Needs hdrhistogram.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hdrh.codec import HdrCookieException, HdrLengthException
from hdrh.histogram import HdrHistogram

from pagethrift.errors import UsageError

KEY = "latency_us_hdr"
_COOKIE = 0x1C849304 | 0x10
"""first four bytes of a deflated histogram of version 2, big-endian; four bytes of length follow"""
_BROKEN = (
    ArithmeticError, IndexError, KeyError, MemoryError, TypeError, ValueError,
    struct.error, zlib.error, HdrCookieException, HdrLengthException,
)  # fmt: skip
"""what hdrhistogram and zlib raise on bytes that are not a histogram"""


def taken_out(client: Any) -> tuple[Any, bytes | None]:
    """Return a client's report with null for its histograms, and the histograms packed.

    Returns the report unchanged, and None, if `put_back` would not restore every character.
    """
    texts = _texts(client)
    try:
        packed = _packed(texts) if texts else None
        if packed is None or _unpacked(packed) != texts:
            return client, None
    except _BROKEN:
        return client, None
    return _replaced(client, [None] * len(texts)), packed


def put_back(client: Any, packed: bytes) -> dict[str, Any]:
    """Return the report that ``taken_out`` was given. Raises UsageError."""
    try:
        return _replaced(client, _unpacked(packed))
    except _BROKEN as error:
        raise UsageError(f"broken histograms: {error}") from error


def _texts(client: Any) -> list[str]:
    """Return a report's histograms, that of all operations first; an empty list if one is missing."""
    phases = client.get("phases") if isinstance(client, Mapping) else None
    holders = [client, *phases] if isinstance(phases, list) else [client]
    texts = [each.get(KEY) if isinstance(each, Mapping) else None for each in holders]
    found = [text for text in texts if isinstance(text, str)]
    return found if len(found) == len(holders) else []


def _replaced(client: Any, values: Sequence[str | None]) -> dict[str, Any]:
    first, *others = values
    if others:
        phases = zip(client["phases"], others, strict=True)
        client = client | {"phases": [phase | {KEY: value} for phase, value in phases]}
    replaced: dict[str, Any] = client | {KEY: first}
    return replaced


def _packed(texts: Sequence[str]) -> bytes | None:
    whole, *parts = (HdrHistogram.decode(text) for text in texts)
    counts = np.array(whole.counts, np.int64)
    for part in parts:
        if part.counts_len != whole.counts_len:
            return None
        counts -= np.array(part.counts, np.int64)
    if (counts < 0).any():
        return None
    rest = HdrHistogram(
        whole.lowest_trackable_value, whole.highest_trackable_value, whole.significant_figures
    )
    for index in np.flatnonzero(counts):
        rest.record_value(whole.get_value_from_index(int(index)), int(counts[index]))
    payloads = map(_inflated, (rest.encode(), *texts[1:]))
    return b"".join(struct.pack(">I", len(payload)) + payload for payload in payloads)


def _unpacked(packed: bytes) -> list[str]:
    texts = []
    while packed:
        (length,) = struct.unpack_from(">I", packed)
        payload, packed = packed[4 : 4 + length], packed[4 + length :]
        if len(payload) != length:
            raise ValueError("cut short")
        texts.append(_deflated(payload))
    whole = HdrHistogram.decode(texts[0])
    for text in texts[1:]:
        whole.decode_and_add(text)
    return [whole.encode().decode("ascii"), *texts[1:]]


def _inflated(text: str | bytes) -> bytes:
    return zlib.decompress(base64.b64decode(text)[8:])


def _deflated(payload: bytes) -> str:
    deflated = zlib.compress(payload)
    return base64.b64encode(struct.pack(">II", _COOKIE, len(deflated)) + deflated).decode("ascii")

"""Unpacking what a compressed multifd channel carries (QEMU migration/multifd-zlib.c, multifd-zstd.c).

One compressor runs through all packets of a channel and is flushed at the end of each, so one decompressor
does the same. A source may also begin a new zstd frame. The output is bounded by the caller's buffer, not
by what the input claims. zlib and libzstd release the GIL.
"""

from __future__ import annotations

import zlib
from typing import IO, Protocol, cast

MAX_WINDOW_BYTES = 1 << 27
"""window of a zstd frame, as large as QEMU's own decoder takes (ZSTD_WINDOWLOG_LIMIT_DEFAULT)"""


class BadPackedError(Exception):
    """The bytes cannot be unpacked; the text is the library's."""


class Unpacker(Protocol):
    """The decompressor of one channel."""

    def unpack(self, packed: memoryview, into: memoryview) -> int:
        """Unpack the channel's next bytes; return how many were written. Raises BadPackedError.

        If ``into`` is not full, all of ``packed`` was used and nothing waits inside. If it is full, the rest
        may be lost.
        """


class ZlibUnpacker:
    """A zlib stream."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj()

    def unpack(self, packed: memoryview, into: memoryview) -> int:
        """See Unpacker."""
        try:
            found = self._stream.decompress(packed, len(into))
        except zlib.error as error:
            raise BadPackedError(str(error)) from None
        into[: len(found)] = found
        return len(found)


class _UsedUp(Exception):
    """All bytes that were given are used: more come with the next call, so this is not the stream's end."""


class _Given:
    """A file for the decompressor to read from: what was given last, once."""

    def __init__(self) -> None:
        self.packed: memoryview | None = None

    def read(self, _count: int) -> memoryview:
        packed, self.packed = self.packed, None
        if packed is None:
            raise _UsedUp
        return packed


class ZstdUnpacker:
    """A stream of zstd frames."""

    def __init__(self) -> None:
        import zstandard  # 20 ms of a start; few sources compress

        self._error = zstandard.ZstdError
        self._given = _Given()
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        # It writes into the caller's buffer; a decompressobj would return all, however much that is.
        self._stream = decompressor.stream_reader(cast(IO[bytes], self._given), read_across_frames=True)

    def unpack(self, packed: memoryview, into: memoryview) -> int:
        """See Unpacker."""
        self._given.packed = packed
        done = 0
        try:
            # One call of the decoder each; it returns early behind a frame.
            while done < len(into):
                done += self._stream.readinto1(into[done:])
        except _UsedUp:
            pass
        except self._error as error:
            raise BadPackedError(str(error)) from None
        return done

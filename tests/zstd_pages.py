"""The pages of compressed packets, read as migration/multifd-zstd.c does, by the system's libzstd."""

from __future__ import annotations

import ctypes
from functools import cache

from pagethrift.model.pages import PAGE_BYTES


class _Buffer(ctypes.Structure):
    _fields_ = (("at", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t))


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_createDStream.restype = ctypes.c_void_p
    library.ZSTD_freeDStream.argtypes = [ctypes.c_void_p]
    library.ZSTD_initDStream.argtypes = [ctypes.c_void_p]
    library.ZSTD_decompressStream.argtypes = [
        ctypes.c_void_p, ctypes.POINTER(_Buffer), ctypes.POINTER(_Buffer)
    ]  # fmt: skip
    library.ZSTD_decompressStream.restype = ctypes.c_size_t
    return library


class PageDecoder:
    """One channel's decoder: a page at a time, and what a packet has beyond its last page is dropped.

    It refuses a window of more than 2^27, as libzstd does where nobody asks for more.
    """

    def __init__(self) -> None:
        self._stream = _library().ZSTD_createDStream()
        _library().ZSTD_initDStream(self._stream)

    def __del__(self) -> None:
        _library().ZSTD_freeDStream(self._stream)

    def pages(self, packet: bytes, count: int) -> bytes:
        """Return the pages of a packet. Raises ValueError where QEMU fails the migration."""
        zstd, out = _library(), ctypes.create_string_buffer(count * PAGE_BYTES)
        packed = ctypes.create_string_buffer(packet, len(packet))
        into = _Buffer(ctypes.addressof(packed), len(packet), 0)
        for page in range(count):
            one = _Buffer(ctypes.addressof(out) + page * PAGE_BYTES, PAGE_BYTES, 0)
            while True:
                left = zstd.ZSTD_decompressStream(self._stream, ctypes.byref(one), ctypes.byref(into))
                if zstd.ZSTD_isError(ctypes.c_size_t(left)):
                    raise ValueError(f"page {page} of {count}: libzstd refuses it")
                if left == 0 or into.pos == into.size or one.pos == PAGE_BYTES:
                    break
            if one.pos < PAGE_BYTES:
                raise ValueError(f"page {page} of {count}: {one.pos} bytes of {PAGE_BYTES}")
        return out.raw

"""Numbers of QEMU's migration stream (migration/qemu-file, savevm.c, ram.c of QEMU 7.2 .. 10.0)."""

from __future__ import annotations

from enum import IntEnum, IntFlag

MAGIC = 0x5145564D  # "QEVM"
VERSION = 3
MULTIFD_MAGIC = 0x11223344
RAM_VERSION = 4

NAME_MAX = 255
"""an idstr carries its length in one byte"""
RECORD_MAX = 8 + 1 + NAME_MAX + 3 + 4096
"""longest page record: word, named block, XBZRLE head, payload"""


class Section(IntEnum):
    """First byte of everything after the header."""

    EOF = 0x00
    START = 0x01
    PART = 0x02
    END = 0x03
    FULL = 0x04
    SUBSECTION = 0x05
    VMDESCRIPTION = 0x06
    CONFIGURATION = 0x07
    COMMAND = 0x08
    FOOTER = 0x7E


class Command(IntEnum):
    """Commands of the main channel."""

    OPEN_RETURN_PATH = 1
    PING = 2
    POSTCOPY_ADVISE = 3
    POSTCOPY_LISTEN = 4
    POSTCOPY_RUN = 5
    POSTCOPY_RAM_DISCARD = 6
    PACKAGED = 7
    ENABLE_COLO = 8
    POSTCOPY_RESUME = 9
    RECV_BITMAP = 10
    SWITCHOVER_START = 11


class RamFlag(IntFlag):
    """Low bits of the 64-bit word that starts every RAM record."""

    FULL = 0x001
    ZERO = 0x002
    MEM_SIZE = 0x004
    PAGE = 0x008
    EOS = 0x010
    CONTINUE = 0x020
    XBZRLE = 0x040
    HOOK = 0x080
    COMPRESS_PAGE = 0x100
    MULTIFD_FLUSH = 0x200

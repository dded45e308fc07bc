"""Numbers of QEMU's migration stream (migration/qemu-file, savevm.c, ram.c of QEMU 7.2 .. 11.1)."""

from __future__ import annotations

from enum import IntEnum, IntFlag

from pagethrift.model.pages import PAGE_BYTES

MAGIC = 0x5145564D  # "QEVM"
VERSION = 3
MULTIFD_MAGIC = 0x11223344
RAM_VERSION = 4
TLS_HELLO = b"\x16\x03"
"""first two bytes of a TLS connection: a handshake record of TLS 1.0 to 1.3"""

NAME_MAX = 255
"""an idstr carries its length in one byte"""


PAGE_SHIFT = 12
"""a record's word is a block offset whose low bits, those within a page, are flags"""
FLAG_BITS = (1 << PAGE_SHIFT) - 1
WORD_BYTES = 8
"""of a record's word"""
SECTION_HEAD_BYTES = 1 + 4
"""of a PART section: its type and number"""
XBZRLE_HEAD_BYTES = 3
"""bytes after word and name: one for the encoding, two for the payload's length"""
XBZRLE_ENCODING = 1
"""ENCODING_FLAG_XBZRLE of QEMU's migration/ram.c"""

RECORD_MAX = WORD_BYTES + 1 + NAME_MAX + XBZRLE_HEAD_BYTES + PAGE_BYTES
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


# The same as integers: Numba knows no IntFlag.
CONTINUE_FLAG, ZERO_FLAG, PAGE_FLAG, XBZRLE_FLAG, EOS_FLAG, FLUSH_FLAG = (
    int(flag)
    for flag in (
        RamFlag.CONTINUE, RamFlag.ZERO, RamFlag.PAGE, RamFlag.XBZRLE, RamFlag.EOS, RamFlag.MULTIFD_FLUSH,
    )
)  # fmt: skip


class BitmapFlag(IntFlag):
    """First byte of a chunk of a dirty-bitmap section (migration/block-dirty-bitmap.c)."""

    EOS = 0x01
    ZEROES = 0x02
    BITMAP_NAME = 0x04
    DEVICE_NAME = 0x08
    START = 0x10
    COMPLETE = 0x20
    BITS = 0x40
    EXTRA = 0x80
    """more flags follow; no QEMU sets it"""


class VfioTag(IntEnum):
    """Words that begin the parts of a vfio section (hw/vfio/migration.c)."""

    END_OF_STATE = 0xFFFFFFFFEF100001
    CONFIG_STATE = 0xFFFFFFFFEF100002
    SETUP_STATE = 0xFFFFFFFFEF100003
    DATA_STATE = 0xFFFFFFFFEF100004
    INIT_DATA_SENT = 0xFFFFFFFFEF100005

"""What a file is that is no migration stream, told by its first bytes, and what to do with it."""

from __future__ import annotations

import re
import struct

from pagethrift.errors import StreamError
from pagethrift.stream.wire import MAGIC

FIRST_BYTES = 4096
"""enough to know a file by"""
BEGINS_WITHIN = 8
"""bytes of magic and version: an error behind them is about a stream"""

_MAGIC = MAGIC.to_bytes(4, "big")
_LIBVIRT = struct.Struct("16s5I56x")
"""virQEMUSaveHeader of libvirt: magic, version, bytes of XML, whether it ran, compression, cookie"""
_LIBVIRT_UNPACKING = ("", "gzip -dc", "bzip2 -dc", "xz -dc", "lzop -dc", "zstd -dc")
_LIBVIRT_SPARSE = 6
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "zcat"),
    b"\xfd7zXZ\0": ("xz", "xzcat"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstdcat"),
    b"\x04\x22\x4d\x18": ("lz4", "lz4 -dc"),
    b"BZh": ("bzip2", "bzcat"),
    b"\x89LZO\0": ("lzop", "lzop -dc"),
}
_DISK = "a disk image{}, which holds no memory; capture a stream with QEMU's migrate exec:cat>FILE"
_DUMP = "{}, a dump for debuggers; capture a stream with QEMU's migrate exec:cat>FILE"
_RESULT = "show it with pagethrift report FILE"
_KNOWN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"QFI\xfb", _DISK.format(" (qcow2)")),
    (0, b"KDMV", _DISK.format(" (vmdk)")),
    (0, b"COWD", _DISK.format(" (vmdk)")),
    (0, b"# Disk DescriptorFile", _DISK.format(" (vmdk)")),
    (0, b"vhdxfile", _DISK.format(" (vhdx)")),
    (0, b"conectix", _DISK.format(" (vhd)")),
    (64, b"\x7f\x10\xda\xbe", _DISK.format(" (vdi)")),
    (0, b"LUKS\xba\xbe", _DISK.format(" (LUKS)")),
    (512, b"EFI PART", _DISK.format(" (raw)")),
    (510, b"\x55\xaa", _DISK.format(" (raw)")),
    (1080, b"\x53\xef", _DISK.format(" (raw, ext4)")),
    (0, b"XFSB", _DISK.format(" (raw, XFS)")),
    (0, b"KDUMP   ", _DUMP.format("a kdump of memory")),
    (0, b"makedumpfile", _DUMP.format("a kdump of memory")),
    (0, b"Xen saved domain", "a save image of Xen, not of QEMU"),
    (0, b"LinuxGuestRecord", "a save image of Xen, not of QEMU"),
    (0, b"PAR1", f"a Parquet file; a trace is for pagethrift simulate, an archive: {_RESULT}"),
    (257, b"ustar", "a tar archive; unpack it first"),
    (0, b"PK\x03\x04", "a zip archive; unpack it first"),
    (0, b"\x11\x22\x33\x44", "a channel of multifd, not the main one; capture with multifd off"),
)


def what_it_is(first: bytes) -> str:
    """Return what a file with these first bytes is, and what to do; empty: a migration stream, or unknown."""
    if not first:
        return "an empty file; did QEMU's migrate fail?"
    if first.startswith(_MAGIC[: len(first)]):
        return ""
    if first.startswith((b"LibvirtQemudSave", b"LibvirtQemudPart")):
        return _libvirt(first)
    for magic, (name, reading) in _COMPRESSED.items():
        if first.startswith(magic):
            return f"a file compressed with {name}; unpack it: {reading} FILE | pagethrift thin"
    for offset, magic, words in _KNOWN:
        if first[offset : offset + len(magic)] == magic:
            return words
    if first.startswith(b"\x7fELF"):
        core = first[16:18] in (b"\x04\x00", b"\x00\x04")
        return _DUMP.format("an ELF core") if core else "a program (ELF)"
    if len(first) >= 512 and not any(first):
        return "zeros, perhaps of a raw disk image"
    return _text(first)


def not_a_stream(error: StreamError, first: bytes) -> StreamError:
    """Return an error that says what a file is, for one of its first bytes; any other error as it is."""
    if error.offset > BEGINS_WITHIN or not (words := what_it_is(first)):
        return error
    return StreamError(0, "a migration stream", words)


def _libvirt(first: bytes) -> str:
    if len(first) < _LIBVIRT.size:
        return "the beginning of a libvirt save image; it is cut short"
    order = "<" if first[16] else ">"
    magic, _, xml_bytes, _, compression, _ = struct.unpack_from(order + _LIBVIRT.format, first)
    what = "a libvirt save image" + (" that was never finished" if magic.endswith(b"Part") else "")
    what += " (virsh save-image-dumpxml FILE shows its guest)"
    if compression == _LIBVIRT_SPARSE:
        return f"{what} of the sparse format, which is no stream; save it with virsh save --image-format raw"
    unpacking = _LIBVIRT_UNPACKING[compression] if compression < len(_LIBVIRT_UNPACKING) else "UNPACK"
    steps = [f"tail -c +{_LIBVIRT.size + xml_bytes + 1} FILE", *filter(None, [unpacking]), "pagethrift thin"]
    return f"{what}; its stream begins at byte {_LIBVIRT.size + xml_bytes}: {' | '.join(steps)}"


def _text(first: bytes) -> str:
    try:
        text = first.decode()
    except UnicodeDecodeError as error:
        if error.start < len(first) - 3 or len(first) < FIRST_BYTES:  # else a character is cut in two
            return ""
        text = first[: error.start].decode()
    if not all(c.isprintable() or c.isspace() for c in text):
        return ""
    if re.match(r'\s*\{"QMP"', text):
        return "the greeting of a QMP socket; tell its QEMU: migrate exec:cat>FILE"
    if re.search(r'"schema": ?"pagethrift\.facts"', text):
        return "a log of a planner's facts; pagethrift replay FILE reads it"
    if re.match(r"\s*[\[{]", text):
        return f"JSON; if it is a result, {_RESULT}"
    return "a text"

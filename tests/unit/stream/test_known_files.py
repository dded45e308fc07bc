"""Files that are no migration streams are called by their names, with what to do."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import struct

import pytest

from pagethrift.errors import StreamError
from pagethrift.stream.input import NotUnderstood
from pagethrift.stream.known_files import FIRST_BYTES, not_a_stream, what_it_is
from pagethrift.stream.reader import StreamReader
from tests.unit.stream.pieces import HEADER, whole


def libvirt(
    compression: int = 0, xml: bytes = b"<domain type='kvm'/>", order: str = "<", end: bytes = b"Save"
) -> bytes:
    head = struct.pack(order + "16s5I56x", b"LibvirtQemud" + end, 2, len(xml), 1, compression, 0)
    assert len(head) == 92
    return head + xml


@pytest.mark.parametrize(
    ("first", "what", "todo"),
    [
        (b"", "an empty file", "did QEMU's migrate fail?"),
        (libvirt(), "a libvirt save image (virsh save-image-", "112: tail -c +113 FILE | pagethrift thin"),
        (libvirt(xml=bytes(512)), "a libvirt save image", "at byte 604: tail -c +605 FILE | pagethrift thin"),
        (libvirt(order=">"), "a libvirt save image", "tail -c +113 FILE | pagethrift thin"),
        (libvirt(5), "a libvirt save image", "tail -c +113 FILE | zstd -dc | pagethrift thin"),
        (libvirt(77), "a libvirt save image", "tail -c +113 FILE | UNPACK | pagethrift thin"),
        (libvirt(6), "a libvirt save image", "virsh save --image-format raw"),
        (libvirt(end=b"Part"), "a libvirt save image that was never finished", "tail -c"),
        (libvirt()[:50], "the beginning of a libvirt save image", "cut short"),
        (gzip.compress(b"x", mtime=0), "compressed with gzip", "zcat FILE | pagethrift thin"),
        (lzma.compress(b"x"), "compressed with xz", "xzcat FILE"),
        (bz2.compress(b"x"), "compressed with bzip2", "bzcat FILE"),
        (bytes.fromhex("28b52ffd2000"), "compressed with zstd", "zstdcat FILE"),
        (bytes.fromhex("04224d186440"), "compressed with lz4", "lz4 -dc FILE"),
        (b"QFI\xfb\0\0\0\x03", "a disk image (qcow2)", "migrate exec:cat>FILE"),
        (b"KDMV\x01\0\0\0", "a disk image (vmdk)", "migrate exec:cat>FILE"),
        (bytes(510) + b"\x55\xaa", "a disk image (raw)", "migrate exec:cat>FILE"),
        (b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x04\0", "an ELF core", "migrate exec:cat>FILE"),
        (b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0", "a program", ""),
        (b"PAR1\x15\x04", "a Parquet file", "pagethrift report FILE"),
        (bytes(4096), "zeros", "raw disk"),
        (json.dumps({"schema": "pagethrift-run"}).encode(), "JSON", "pagethrift report FILE"),
        (b'{"schema":"pagethrift.facts","version":1}\n', "a log of a planner's facts", "replay"),
        (b'{"QMP": {"version"', "the greeting of a QMP socket", "exec:cat>FILE"),
        ("# Größe\n".encode() * 1000, "a text", ""),
        (("x" * (FIRST_BYTES - 1) + "ö").encode()[:FIRST_BYTES], "a text", ""),
    ],
)  # fmt: skip
def test_what_it_is_and_what_to_do(first: bytes, what: str, todo: str) -> None:
    said = what_it_is(first)
    assert what in said
    assert todo in said
    assert said.isprintable()
    assert len(said) < 250


@pytest.mark.parametrize(
    "first", [HEADER, whole()[:FIRST_BYTES], HEADER[:3], b"\xff\xfe\x01", b"\x80" * 5000]
)
def test_a_stream_and_what_nobody_knows_have_no_other_name(first: bytes) -> None:
    assert what_it_is(first) == ""


def test_an_error_behind_the_beginning_stays_what_it_is() -> None:
    error = NotUnderstood(900, "a section", "type 0x09")
    assert not_a_stream(error, libvirt()) is error
    first = StreamError(0, "magic", "another")
    assert not_a_stream(first, b"\xff\xfe") is first
    assert "got a libvirt save image" in str(not_a_stream(first, libvirt()))


def test_a_reader_itself_says_what_it_expected() -> None:
    with pytest.raises(StreamError, match="magic"):
        list(StreamReader().feed(libvirt()))

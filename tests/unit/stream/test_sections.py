"""Everything that may stand before the end of RAM, whole, byte by byte and with trailing bytes."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from pagethrift.errors import StreamError
from pagethrift.stream import sections
from pagethrift.stream.input import NotUnderstood
from pagethrift.stream.reader import StreamReader
from tests.unit.stream.pieces import (
    BLOCKS,
    EOS,
    FLUSH,
    HEADER,
    PAGE,
    RAM,
    TAIL,
    be32,
    be64,
    block_list,
    command,
    configuration,
    footer,
    idstr,
    page,
    part,
    ram_start,
    read,
    read_three_ways,
    refused,
    start,
    subsection,
    whole,
)

TAGS = {
    name: be64(0xFFFFFFFFEF100000 | n)
    for n, name in enumerate(["", "end", "config", "setup", "data", "init"])
}
PRE = HEADER + configuration()
PRE_RAM = PRE + ram_start()
VFIO = b"0000:00:02.0/vfio"
EARLY = b"0000:00:01.0/virtio-mem-device-early"
BITMAP = b"dirty-bitmap"
PBS = start(b"pbs-state", 9, be64(32) + bytes(range(32)))
CHUNK_START = b"\x1c" + idstr(b"disk0") + idstr(b"bitmap0") + be32(65536) + b"\x00"
CHUNK_BITS = b"\x40" + be64(128) + be32(64) + be64(9) + b"nine byte"
CHUNK_ZEROES = b"\x42" + be64(0) + be32(4096)
CHUNK_NAMED_BITS = b"\x4c" + idstr(b"disk0") + idstr(b"b") + be64(0) + be32(8) + be64(0)
CHUNK_COMPLETE = b"\x20"
CHUNK_EOS = b"\x01"


def configured(*subsections: bytes) -> bytes:
    return HEADER + configuration(*subsections)


def sure(stream: bytes, blocks: tuple[tuple[bytes, int], ...] = BLOCKS) -> None:
    """The stream is read; its one page and its tail are found where they are."""
    seen = read_three_ways(stream)
    assert seen.pages == [(3, 1, PAGE)]
    assert seen.blocks is not None
    assert [(b.name, b.pages) for b in seen.blocks] == list(blocks)
    assert seen.raw == stream.replace(page(3), b"")
    assert seen.raw[seen.tail :] == TAIL


GOOD = {
    "no configuration": whole(head=HEADER),
    "plain": whole(),
    "nameless machine": whole(head=HEADER + configuration(machine=b"")),
    "target page bits": whole(head=configured(subsection(b"target-page-bits", be32(12)))),
    "uuid": whole(head=configured(subsection(b"uuid", bytes(range(16))))),
    "uuid that looks like sections": whole(head=configured(subsection(b"uuid", b"\x05\x7e\x02\x01" * 4))),
    "no capabilities": whole(head=configured(subsection(b"capabilities", be32(0)))),
    "two subsections": whole(
        head=configured(subsection(b"target-page-bits", be32(12)), subsection(b"uuid", bytes(16)))
    ),
    "return path": whole(command(1), command(2, be32(1))),
    "switchover start": whole(then=part() + command(11)),
    "ping while iterating": whole(then=part() + command(2, be32(7)) + part()),
    "bitmaps": whole(
        start(BITMAP, 3, CHUNK_START + CHUNK_EOS),
        then=part(kind=2) + b"\x02" + be32(3) + CHUNK_BITS + CHUNK_ZEROES + CHUNK_NAMED_BITS + CHUNK_COMPLETE
        + CHUNK_EOS + footer(3),
    ),
    "bitmaps after RAM's START": whole(then=start(BITMAP, 3, CHUNK_START + CHUNK_EOS)),
    "an END of bitmaps before RAM's": whole(
        then=start(BITMAP, 3, CHUNK_EOS) + b"\x03" + be32(3) + CHUNK_EOS + footer(3)
    ),
    "vfio": whole(
        then=start(VFIO, 4, TAGS["setup"] + TAGS["end"])
        + b"\x02" + be32(4) + TAGS["data"] + be64(11) + b"\x7e\0\0\0\x04device" + TAGS["data"] + be64(0)
        + TAGS["init"] + TAGS["end"] + footer(4),
    ),
    "virtio-mem early": whole(then=start(EARLY, 5, b"sizes and flags", kind=4)),
    "virtio-mem early that holds its own mark": whole(
        then=start(EARLY, 5, b"ab" + footer(5) + b"\x7ecd", kind=4)
    ),
    "Proxmox's backup bitmaps": whole(then=PBS),
    "Proxmox's backup bitmaps before RAM": whole(PBS),
    "an unknown section that looks like its end": whole(
        then=start(
            b"new", 9, footer(9) + b"\x7e" + footer(9) + b"\x02" + be32(77) + footer(9) + b"\x01\0\0\0\x09\0"
        )
    ),
    "an unknown section whose end looks like RAM's": whole(
        then=start(b"new", 9, footer(RAM) + page(1) + b"\x7e\0\0\0")
    ),
    "an unknown section before a command": whole(then=start(b"new", 9, b"") + command(2, be32(7))),
    "two unknown sections": whole(then=start(b"new", 9, b"a") + start(b"newer", 10, b"b")),
    "parts of an unknown section": whole(
        then=start(b"new", 9, b"a") + part() + b"\x02" + be32(9) + b"content" * 30 + footer(9)
        + b"\x03" + be32(9) + footer(9)
    ),
    "an unknown early section after RAM's START": whole(then=start(b"new-early", 9, b"state", kind=4)),
    "page sizes": whole(ram=ram_start(block_list(extra=be64(2 << 20)))),
    "page size of 1 GiB": whole(ram=ram_start(block_list(extra=be64(1 << 30)))),
    "MULTIFD_FLUSH after the blocks": whole(ram=ram_start(after=FLUSH)),
    "MULTIFD_FLUSH in a PART": whole(then=part(FLUSH)),
    "empty PARTs": whole(then=part() * 50),
    "another section id for RAM": (
        PRE + ram_start(section=7) + part(page(3), section=7)
        + part(last=True, section=7) + TAIL
    ),
    "an empty tail": whole()[: -len(TAIL)] + TAIL,
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_what_may_stand_before_the_end_of_ram(name: str) -> None:
    sure(GOOD[name])


@pytest.mark.parametrize("address", [0, 0x100000000, 0xFFFC0000, 2**64 - 4096, 0x0700000000000000])
def test_ignore_shared_adds_addresses(address: int) -> None:
    """Capability x-ignore-shared: a guest address after each size, whatever it looks like."""
    head = configured(subsection(b"capabilities", be32(1) + idstr(b"x-ignore-shared")))
    sure(whole(head=head, ram=ram_start(block_list(extra=be64(address)))))


def test_a_postcopy_advise_for_dirty_bitmaps_alone_is_pre_copy() -> None:
    """QEMU sends it, empty, for capability dirty-bitmaps (savevm.c, migrate_postcopy())."""
    sure(whole(command(1), command(3), start(BITMAP, 3, CHUNK_START + CHUNK_EOS)))


def test_names_of_all_lengths() -> None:
    blocks = ((b"r" * 255, 4), (b"s", 1), (bytes(range(1, 251)), 2))
    stream = whole(ram=ram_start(block_list(blocks)))
    stream = stream.replace(page(3), page(3, b"r" * 255))
    seen = read_three_ways(stream)
    assert seen.blocks is not None
    assert [(b.name, b.pages, b.first_page) for b in seen.blocks] == [
        (blocks[0][0], 4, 0), (blocks[1][0], 1, 4), (blocks[2][0], 2, 5),
    ]  # fmt: skip
    assert seen.pages == [(3, 1, PAGE)]


BEGIN = len(PRE)
AFTER_RAM = len(PRE_RAM)
NOT_UNDERSTOOD = {
    "a subsection": (configured(subsection(b"new", b"?")), BEGIN + 23, "configuration/new"),
    "a capability": (
        configured(subsection(b"capabilities", be32(1) + idstr(b"x-new"))), BEGIN + 42, "x-new",
    ),
    "a command": (PRE + command(12), BEGIN + 1, "command"),
    "a section type": (PRE + b"\x09", BEGIN, "type 0x09"),
    "the end of the stream's sections": (PRE + b"\x00", BEGIN, "type 0x00"),
    "device state first": (
        PRE + start(b"timer", 1, b"state", kind=4), BEGIN + 19, "section 'timer'",
    ),
    "disks": (PRE + start(b"block", 1, b"?"), BEGIN + 19, "'block'"),
    "an unknown section once pages may have come": (
        PRE_RAM + part() + start(b"new", 9, b""), AFTER_RAM + len(part()) + 17, "'new'"
    ),
    "device state once pages may have come": (
        PRE_RAM + part() + start(b"new", 9, b"", kind=4), AFTER_RAM + len(part()) + 17, "RAM before device"
    ),
    "a second instance of ram": (
        PRE + start(b"ram", 1, b"", instance=1, version=4), BEGIN + 17, "'ram'",
    ),
    "a PART of nothing": (PRE + b"\x02" + be32(9), BEGIN + 5, "9"),
    "a later RAM version": (PRE + start(b"ram", 2, b"", version=5), BEGIN + 13, "got 5"),
    "no footers": (PRE + ram_start()[:-5] + part()[:-5], AFTER_RAM - 5, "a section footer"),
    "a vfio tag": (
        PRE_RAM + start(VFIO, 3, be64(7)), AFTER_RAM + 31, "vfio tag",
    ),
    "vfio configuration before the end": (
        PRE_RAM + start(VFIO, 3, TAGS["config"]), AFTER_RAM + 31, "0xffffffffef100002",
    ),
    "bitmap flags of two bytes": (
        PRE + start(BITMAP, 3, b"\x81\x00"), BEGIN + 26, "0x81",
    ),
    "an empty bitmap chunk": (PRE + start(BITMAP, 3, b"\x02"), BEGIN + 26, "flags 0x02"),
}  # fmt: skip


@pytest.mark.parametrize("what", NOT_UNDERSTOOD)
def test_what_may_be_legal_but_is_unknown(what: str) -> None:
    """NotUnderstood, never another StreamError: a relay may go on as a pipe, so no byte may be lost."""
    stream, offset, match = NOT_UNDERSTOOD[what]
    refused(stream, NotUnderstood, offset, match)
    for chunks in ([stream], [stream + b"\x5a" * 9000], [stream[:offset], stream[offset:] + b"\x5a" * 77]):
        seen = read(chunks)
        fed = b"".join(chunks)
        assert seen.raw + seen.rest == fed[: len(seen.raw) + len(seen.rest)]
        assert len(seen.raw + seen.rest) >= offset


REFUSED = {
    "nothing of QEMU": (b"GET / HTTP/1.1\r\n\r\n", 0, "magic 0x5145564d, got 0x47455420"),
    "TLS 1.0 record": (bytes.fromhex("16030100f8010000f4"), 0, "TLS .leave QEMU's tls-creds empty"),
    "TLS 1.2 record": (bytes.fromhex("16030300f8010000f4"), 0, "TLS"),
    "multifd": (bytes.fromhex("1122334400000001") + bytes(56), 0, "capability multifd off at the source"),
    "version 2": (bytes.fromhex("5145564d00000002"), 4, "stream version 3, got 2"),
    "a machine name of a gigabyte": (HEADER + b"\x07" + be32(1 << 30), 9, "a machine name, got 1073741824"),
    "other pages": (configured(subsection(b"target-page-bits", be32(14))), BEGIN + 36, "2.14"),
    "many capabilities": (
        configured(subsection(b"capabilities", be32(1 << 31))), BEGIN + 32, "a list of capabilities",
    ),
    "mapped-ram": (
        configured(subsection(b"capabilities", be32(1) + idstr(b"mapped-ram"))), BEGIN + 47, "mapped-ram",
    ),
    "post-copy": (PRE + command(3, bytes(16)), BEGIN + 1, "postcopy-ram .switch it off"),
    "post-copy listen": (PRE + command(4), BEGIN + 1, "post-copy phase"),
    "post-copy run": (PRE + command(5), BEGIN + 1, "post-copy phase"),
    "post-copy discard": (PRE + command(6, b"\0\1r\0"), BEGIN + 1, "post-copy phase"),
    "a package": (PRE + command(7, be32(99)), BEGIN + 1, "post-copy phase"),
    "COLO": (PRE + command(8), BEGIN + 1, "x-colo"),
    "post-copy resume": (PRE + command(9), BEGIN + 1, "recovery"),
    "post-copy bitmap": (PRE + command(10, b"\1r"), BEGIN + 1, "recovery"),
    "post-copy after the first pages": (
        PRE_RAM + part(page(3)) + command(7, be32(99)),
        AFTER_RAM + len(part(page(3))) + 1, "post-copy phase",
    ),
    "another footer": (PRE + ram_start()[:-1] + b"\x09", AFTER_RAM - 4, "footer of section 2, got 9"),
    "RAM twice": (PRE + ram_start() * 2, AFTER_RAM + 17, "one RAM section"),
    "no list of blocks": (PRE + start(b"ram", 2, be64(8), version=4), BEGIN + 17, "flags 0x008"),
    "a block beyond the total": (
        PRE + ram_start(block_list(total=4096)), BEGIN + 17 + 8 + 7, "32768 bytes",
    ),
    "an empty block": (
        PRE + ram_start(block_list([(b"a", 0)], total=4096)), BEGIN + 17 + 8 + 2, "0 bytes",
    ),
    "a block twice": (
        PRE + ram_start(block_list([(b"a", 1), (b"a", 1)])), BEGIN + 17 + 8 + 10 + 2, "b'a'",
    ),
    "part of a page": (
        PRE + start(b"ram", 2, be64(8192 | 4) + idstr(b"a") + be64(4097), version=4),
        BEGIN + 17 + 8 + 2, "whole pages",
    ),
    "a yottabyte of RAM": (
        PRE + ram_start(block_list([(b"a", 1 << 40)])), BEGIN + 17, "at most 64 TiB",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_says_what_to_do(what: str) -> None:
    stream, offset, match = REFUSED[what]
    refused(stream, StreamError, offset, match)


RECORDS = {
    "capability compress": (be64(0x100), "capability compress .switch it off"),
    "an RDMA hook": (be64(0x80), "RDMA hook"),
    "the FULL flag": (be64(0x001), "obsolete FULL flag"),
    "two kinds at once": (be64(0x00A), "flags 0x00a"),
    "a list of blocks again": (be64(4096 | 4), "flags 0x004"),
    "an unknown block": (page(0, b"pc.rom"), "an unknown name"),
    "CONTINUE before any block": (page(0, None), "CONTINUE before any block"),
    "a page beyond its block": (page(8), "block offset 0x8000"),
    "a fill byte": (be64(2) + idstr(b"pc.ram") + b"\x01", "another fill byte"),
    "an XBZRLE record of another type": (be64(0x40) + idstr(b"pc.ram") + b"\x02\x00\x01x", "another type"),
    "an XBZRLE record longer than a page": (be64(0x40) + idstr(b"pc.ram") + b"\x01\x10\x01", "a longer one"),
}


@pytest.mark.parametrize(
    ("what", "pages_before"),
    [(what, 0) for what in RECORDS] + [(what, 1) for what in RECORDS if not what.startswith("CONTINUE")],
)
def test_broken_records_are_named_at_their_place(what: str, pages_before: int) -> None:
    record, match = RECORDS[what]
    stream = PRE_RAM + b"\x02" + be32(RAM) + page(1) * pages_before
    refused(stream + record, StreamError, len(stream), match)


@pytest.mark.parametrize("flags", [0x400, 0x800, 0xC00])
def test_a_record_flag_of_a_later_qemu_before_the_first_page_is_not_understood(flags: int) -> None:
    """Invariant 5: nothing was rewritten yet, so a relay must be able to go on as a pipe."""
    stream = PRE + ram_start(after=be64(flags))
    refused(stream, NotUnderstood, AFTER_RAM - 13, f"flags {flags:#05x}")


@pytest.mark.parametrize("name", ["plain", "bitmaps", "vfio", "page sizes", "virtio-mem early"])
def test_an_early_end_says_where(name: str) -> None:
    """Cut anywhere before RAM's end: an error at the cut, whatever part it is in."""
    stream = GOOD[name]
    ram_ends = len(stream) - len(TAIL)
    inside = set(range(ram_ends - 60, ram_ends)) | {4100 + n for n in range(0, 600, 7)}
    for cut in sorted(n for n in set(range(420)) | inside if n < ram_ends):
        seen = read([stream[:cut]])
        assert seen.error is not None, f"cut at {cut}"
        assert (seen.error.offset, seen.error.got) == (cut, "its end")
    assert read([stream[:ram_ends]]).ended


@pytest.mark.slow
@pytest.mark.parametrize(
    "prefix",
    [
        configured(subsection(b"target-page-bits", be32(2**32 - 1))),
        PRE + start(BITMAP, 3, b"\x40" + bytes(12) + be64(2**64 - 1)),
        PRE + start(VFIO, 3, TAGS["data"] + be64(2**63)),
        PRE + b"\x08\x00\x02\xff\xff",
        PRE + start(EARLY, 3, b"", kind=4)[:-5],
        HEADER + b"\x07" + be32(2**32 - 1),
        HEADER
        + configuration()
        + ram_start(block_list([(b"r", 2**34 - 1), (b"s", 1)]))
        + b"\x02"
        + be32(RAM),
    ],
    ids=["page bits", "bitmap", "vfio", "command", "early section", "machine name", "64 TiB"],
)
def test_absurd_lengths_do_not_cost_memory(prefix: bytes) -> None:
    reader = StreamReader()
    tracemalloc.start()
    try:
        for chunk in [prefix] + [b"\x55" * 100_000] * 3:
            for _ in reader.feed(chunk):
                pass
    except StreamError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 << 20


def test_an_early_section_without_end_is_given_up() -> None:
    stream = PRE_RAM + start(EARLY, 3, b"", kind=4)[:-5]
    seen = read([stream, b"\x55" * (sections.MAX_SCANNED_BYTES + 10)])
    assert isinstance(seen.error, NotUnderstood)
    assert "footer of section 3" in str(seen.error)


def test_a_section_of_unknown_content_is_named_with_its_bytes() -> None:
    stream = whole(then=PBS + part() + b"\x02" + be32(9) + footer(9))
    reader = StreamReader()
    for _ in reader.feed(stream):
        pass
    assert reader.other_bytes == {"pbs-state": len(PBS) + 10}


def test_an_unknown_section_that_the_stream_ends_in_leaves_a_relay_a_pipe() -> None:
    for end in (b"", b"\x7e\0\0\0\x09", footer(9) + b"\x01\0\0\0\x0a\x09half"):
        stream = PRE_RAM + start(b"new", 9, b"content")[:-5] + end
        refused_at_end = read([stream])
        assert isinstance(refused_at_end.error, NotUnderstood)
        assert refused_at_end.raw + refused_at_end.rest == stream


@pytest.mark.slow
def test_what_looks_like_an_end_everywhere_costs_linear_time() -> None:
    """A relay must not be kept busy by one section, whatever it holds."""
    took_s = []
    for count in (20_000, 80_000):
        stream = PRE_RAM + start(b"new", 9, footer(9) * count)[:-5]
        began_s = time.process_time()
        assert isinstance(read([stream]).error, NotUnderstood)
        took_s.append(time.process_time() - began_s)
    assert took_s[1] < 8 * took_s[0] + 0.5


def test_too_many_blocks() -> None:
    blocks = [(b"%d" % i, 1) for i in range(sections.MAX_BLOCKS + 1)]
    assert read([PRE + ram_start(block_list(blocks[:-1]))]).blocks is not None
    error = read([PRE + ram_start(block_list(blocks))]).error
    assert error is not None
    assert "b'4096'" in str(error)


def test_the_marks_come_in_order_and_place() -> None:
    seen = read_three_ways(whole(then=part()))
    first = len(PRE + ram_start())
    blocks = first - len(EOS + footer())
    assert seen.marks == [
        f"begins {blocks}", f"body False {blocks}", f"body False {first + 5}",
        f"body False {first + 23}", f"body True {first + 41}", f"ends {first + 54}",
    ]  # fmt: skip

"""The grammar of everything except page records (QEMU migration/savevm.c, ram.c).

Section numbers refer to docs/stream.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypeVar

from pagethrift.errors import StreamError
from pagethrift.model.pages import PAGE_BYTES, BlockTable
from pagethrift.stream.input import NotUnderstood, Step, StreamInput
from pagethrift.stream.wire import (
    FLAG_BITS,
    MAGIC,
    MULTIFD_MAGIC,
    RAM_VERSION,
    TLS_HELLO,
    VERSION,
    BitmapFlag,
    Command,
    RamFlag,
    Section,
    VfioTag,
)  # fmt: skip

T = TypeVar("T")

MAX_BLOCKS = 4096
MAX_RAM_BYTES = 1 << 46
"""64 TiB: a corrupt size must not make the ledger request all of the machine's memory"""
MAX_CONFIGURATION_BYTES = 4096
MAX_SCANNED_BYTES = 16 << 20
"""of a section whose end must be looked for: bitmaps of Proxmox's backups take 32 KiB for a TiB of disk"""
_BULK = re.compile(r"block|.*htab|s390-.*")
"""sections beside RAM that carry the content of disks or of memory, round for round"""
_COMMAND_BYTES_MAX = 64
_REFUSED_COMMANDS = {
    Command.POSTCOPY_ADVISE: "capability postcopy-ram (switch it off at the source)",
    Command.POSTCOPY_LISTEN: "a post-copy phase (switch capability postcopy-ram off at the source)",
    Command.POSTCOPY_RUN: "a post-copy phase (switch capability postcopy-ram off at the source)",
    Command.POSTCOPY_RAM_DISCARD: "a post-copy phase (switch capability postcopy-ram off at the source)",
    Command.PACKAGED: "a post-copy phase (switch capability postcopy-ram off at the source)",
    Command.ENABLE_COLO: "COLO replication (switch capability x-colo off at the source)",
    Command.POSTCOPY_RESUME: "the recovery of a post-copy migration",
    Command.RECV_BITMAP: "the recovery of a post-copy migration",
}


@dataclass(slots=True)
class Context:
    """What the grammar remembers between sections."""

    machine: str = ""
    """the machine type, as the stream names it"""
    return_path: bool = False
    """the destination was asked to answer"""
    ram_id: int | None = None
    table: BlockTable | None = None
    ram_over: bool = False
    block_has_address: bool = False
    """capability x-ignore-shared: the block list carries guest addresses"""
    parts_begun: bool = False
    """a PART or END of RAM has come: pages may have been rewritten"""
    others: dict[int, str] = field(default_factory=dict)
    """id -> idstr of iterable sections beside RAM"""
    other_bytes: dict[str, int] = field(default_factory=dict)
    """idstr -> bytes of its sections so far, heads and footers included"""

    def count(self, name: str, count: int) -> None:
        """Add bytes to a section beside RAM."""
        self.other_bytes[name] = self.other_bytes.get(name, 0) + count


def header(source: StreamInput) -> Step[None]:
    """Read magic and version."""
    magic = yield from source.be32()
    if magic == MULTIFD_MAGIC:
        raise StreamError(
            0, "the main channel", "a multifd channel (switch capability multifd off at the source)"
        )
    if magic.to_bytes(4, "big").startswith(TLS_HELLO):
        raise StreamError(
            0, "a migration stream", "TLS (leave QEMU's tls-creds empty; the link is secured outside it)"
        )
    if magic != MAGIC:
        raise StreamError(0, f"magic {MAGIC:#010x}", f"{magic:#010x}")
    version = yield from source.be32()
    if version != VERSION:
        raise StreamError(4, f"stream version {VERSION}", str(version))


def configuration(source: StreamInput, context: Context) -> Step[None]:
    """Read the machine name and the known subsections."""
    length = yield from source.be32()
    if length > MAX_CONFIGURATION_BYTES:
        raise StreamError(source.offset - 4, "a machine name", f"{length} bytes")
    name = yield from source.take(length)
    context.machine = name.decode("ascii", "replace")
    while True:
        yield from source.need(1)
        if source.peek(1)[0] != Section.SUBSECTION:
            return
        yield from source.take(1)
        name = yield from source.name()
        yield from source.be32()
        match name:
            case b"configuration/target-page-bits":
                bits = yield from source.be32()
                if bits != PAGE_BYTES.bit_length() - 1:
                    raise StreamError(source.offset - 4, "target pages of 4096 bytes", f"2^{bits}")
            case b"configuration/uuid":
                yield from source.take(16)
            case b"configuration/capabilities":
                yield from _capabilities(source, context)
            case _:
                raise NotUnderstood(source.offset, "a known configuration subsection", repr(name))


def _capabilities(source: StreamInput, context: Context) -> Step[None]:
    count = yield from source.be32()
    if count > 256:
        raise StreamError(source.offset - 4, "a list of capabilities", f"{count} entries")
    for _ in range(count):
        name = yield from source.name()
        if name == b"x-ignore-shared":
            context.block_has_address = True
        elif name == b"mapped-ram":
            raise StreamError(source.offset, "a streamed migration", "capability mapped-ram (switch it off)")
        else:
            raise NotUnderstood(source.offset, "capability x-ignore-shared", repr(name))


def command(source: StreamInput, context: Context) -> Step[None]:
    """Read a command of the main channel that may stand before the end of RAM."""
    number = yield from source.be16()
    length = yield from source.be16()
    empty_advice = number == Command.POSTCOPY_ADVISE and length == 0  # sent for dirty-bitmaps alone
    if number in _REFUSED_COMMANDS and not empty_advice:
        raise StreamError(source.offset - 4, "a pre-copy migration", _REFUSED_COMMANDS[Command(number)])
    if not empty_advice and number not in (
        Command.OPEN_RETURN_PATH,
        Command.PING,
        Command.SWITCHOVER_START,
    ):
        raise NotUnderstood(source.offset - 4, "a known command", str(number))
    context.return_path |= number == Command.OPEN_RETURN_PATH
    yield from source.skip(length)


def footer(source: StreamInput, section_id: int | None) -> Step[None]:
    """Read the footer every section ends with."""
    yield from source.need(1)
    mark = source.peek(1)[0]
    if mark != Section.FOOTER:
        raise NotUnderstood(
            source.offset,
            "a section footer",
            f"{mark:#04x} (machine types before 2.4 have none: use a newer one)",
        )
    yield from source.take(1)
    found = yield from source.be32()
    if found != section_id:
        raise StreamError(source.offset - 4, f"footer of section {section_id}", str(found))


def start(source: StreamInput, context: Context, kind: int) -> Step[BlockTable | None]:
    """Read a START or FULL section; returns the block table when it is RAM's."""
    began = source.offset - 1
    section_id = yield from source.be32()
    name = (yield from source.name()).decode("ascii", "replace")
    instance = yield from source.be32()
    version = yield from source.be32()
    if name == "ram" and instance == 0 and kind == Section.START:
        if context.ram_id is not None:
            raise StreamError(source.offset, "one RAM section", "a second one")
        if version != RAM_VERSION:
            raise NotUnderstood(source.offset - 4, f"RAM version {RAM_VERSION}", str(version))
        context.ram_id = section_id
        context.table = yield from _block_list(source, context)
        yield from source.flush()
        return context.table
    if kind == Section.FULL:
        between = context.ram_id is not None and not context.parts_begun
        if not between and not name.endswith("/virtio-mem-device-early"):
            raise NotUnderstood(source.offset, "RAM before device state", f"section {name!r}")
        yield from _scan_to_footer(source, context, section_id)
        context.count(name, source.offset - began)
        return None
    if context.parts_begun and not _is_known(name):
        raise NotUnderstood(source.offset, "RAM's pages after the start of every section", repr(name))
    context.others[section_id] = name
    yield from _other_body(source, context, section_id)
    context.count(name, source.offset - began)
    return None


def other_part(source: StreamInput, context: Context, section_id: int) -> Step[None]:
    """Read the body and footer of a PART or END section that is not RAM."""
    began = source.offset - 5
    yield from _other_body(source, context, section_id)
    context.count(context.others[section_id], source.offset - began)


def _other_body(source: StreamInput, context: Context, section_id: int) -> Step[None]:
    name = context.others.get(section_id)
    if name is None or _BULK.fullmatch(name) or name == "ram":
        raise NotUnderstood(
            source.offset, "a section of RAM, of device state or of dirty bitmaps", repr(name or section_id)
        )
    if not _is_known(name):
        yield from _scan_to_footer(source, context, section_id)
        return
    yield from _dirty_bitmaps(source) if name == "dirty-bitmap" else _vfio(source)
    yield from footer(source, section_id)
    yield from source.flush()


def _is_known(name: str) -> bool:
    """Whether the body of an iterable section beside RAM can be read, not only passed over."""
    return name == "dirty-bitmap" or name.endswith("/vfio")


def _block_list(source: StreamInput, context: Context) -> Step[BlockTable]:
    word = yield from source.be64()
    if word & (PAGE_BYTES - 1) != RamFlag.MEM_SIZE:
        raise StreamError(source.offset - 8, "the list of RAM blocks", f"flags {word & FLAG_BITS:#05x}")
    left = word & ~(PAGE_BYTES - 1)
    if left > MAX_RAM_BYTES:
        raise StreamError(source.offset - 8, f"at most {MAX_RAM_BYTES >> 40} TiB of RAM", f"{left} bytes")
    blocks: dict[bytes, int] = {}
    while left > 0:
        name = yield from source.name()
        used = yield from source.be64()
        if used > left or used == 0 or name in blocks or len(blocks) == MAX_BLOCKS:
            raise StreamError(
                source.offset - 8, "a RAM block within the announced total", f"{name!r} of {used} bytes"
            )
        if used % PAGE_BYTES:
            raise StreamError(source.offset - 8, "a RAM block of whole pages", f"{name!r} of {used} bytes")
        blocks[name] = used
        left -= used
        # A page size follows only if it differs from the host's. Its top byte is 0 (a name is never
        # empty) and its low 12 bits are 0 (a record has flags).
        yield from source.need(8)
        ahead = int.from_bytes(source.peek(8), "big")
        if 0 < ahead < 1 << 56 and not ahead & (PAGE_BYTES - 1) and not context.block_has_address:
            yield from source.take(8)
        if context.block_has_address:
            yield from source.take(8)
    return BlockTable.of(list(blocks.items()))


def _scan_to_footer(source: StreamInput, context: Context, section_id: int) -> Step[None]:
    """Pass over a section of unknown content: its end is a footer with its id and a section that may follow.

    Every byte is looked at once, and handed out as it comes. Raises NotUnderstood when no such end comes.
    """
    mark = bytes([Section.FOOTER]) + section_id.to_bytes(4, "big")
    pattern = re.compile(re.escape(mark), re.DOTALL)
    left = MAX_SCANNED_BYTES
    while left > 0:
        before = source.find(pattern, left)
        step = before if before >= 0 else min(left, max(0, source.end - source.position - (len(mark) - 1)))
        source.position += step
        left -= step
        if before < 0:
            if left > 0:
                yield from source.flush()
                yield from _or_not_understood(source, source.wait())
            continue
        if (yield from _or_not_understood(source, _section_follows(source, context, section_id, len(mark)))):
            source.position += len(mark)
            yield from source.flush()
            return
        source.position += 1
        left -= 1
    raise NotUnderstood(
        source.offset, f"the footer of section {section_id}", f"none in {MAX_SCANNED_BYTES >> 20} MiB"
    )


def _or_not_understood(source: StreamInput, step: Step[T]) -> Step[T]:
    """Take a step; that the stream ends meanwhile says only that this is no section we know the end of."""
    try:
        return (yield from step)
    except StreamError as error:
        raise NotUnderstood(error.offset, error.expected, error.got) from error


def _section_follows(source: StreamInput, context: Context, section_id: int, ahead: int) -> Step[bool]:
    """Look whether a section that can be the next one begins ``ahead`` bytes from here; reads nothing."""

    def upcoming(begin: int, count: int) -> Step[bytes]:
        yield from source.need(ahead + begin + count)
        return source.peek(ahead + begin + count)[ahead + begin :]

    kind = (yield from upcoming(0, 1))[0]
    match kind:
        case Section.PART | Section.END:
            number = int.from_bytes((yield from upcoming(1, 4)), "big")
            return number == context.ram_id or number in context.others
        case Section.START | Section.FULL:
            number = int.from_bytes((yield from upcoming(1, 4)), "big")
            if number in (context.ram_id, section_id) or number in context.others:
                return False
            length = (yield from upcoming(5, 1))[0]
            name = yield from upcoming(6, length)
            return length > 0 and all(0x20 <= byte < 0x7F for byte in name)
        case Section.COMMAND:
            words = yield from upcoming(1, 4)
            number, length = int.from_bytes(words[:2], "big"), int.from_bytes(words[2:], "big")
            return number in list(Command) and length <= _COMMAND_BYTES_MAX
        case _:
            return False


def _dirty_bitmaps(source: StreamInput) -> Step[None]:
    """Read chunks of migration/block-dirty-bitmap.c up to the one with the flag EOS."""
    while True:
        flags = yield from source.u8()
        if flags & BitmapFlag.EXTRA:
            raise NotUnderstood(source.offset - 1, "dirty-bitmap flags of one byte", f"{flags:#04x}")
        if flags & BitmapFlag.EOS:
            return
        if flags & BitmapFlag.DEVICE_NAME:
            yield from source.name()
        if flags & BitmapFlag.BITMAP_NAME:
            yield from source.name()
        if flags & BitmapFlag.START:
            yield from source.take(5)
        elif flags & BitmapFlag.BITS:
            yield from source.take(12)
            if not flags & BitmapFlag.ZEROES:
                length = yield from source.be64()
                yield from source.skip(length)
        elif not flags & BitmapFlag.COMPLETE:
            raise NotUnderstood(source.offset - 1, "a dirty-bitmap chunk", f"flags {flags:#04x}")


def _vfio(source: StreamInput) -> Step[None]:
    """Read tagged data of hw/vfio/migration.c up to its END tag."""
    while True:
        tag = yield from source.be64()
        match tag:
            case VfioTag.END_OF_STATE:
                return
            case VfioTag.SETUP_STATE | VfioTag.INIT_DATA_SENT:
                pass
            case VfioTag.DATA_STATE:
                length = yield from source.be64()
                yield from source.skip(length)
            case _:
                raise NotUnderstood(
                    source.offset - 8, "a vfio tag of set-up, data or the end", f"{tag:#018x}"
                )

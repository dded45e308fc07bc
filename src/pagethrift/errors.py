"""Every error that pagethrift raises on purpose, by whose fault it is.

PagethriftError
├── StreamError     QEMU's bytes (or a stream file) are not what the format allows
├── LinkError       the link, the destination or the relay's sockets failed
├── QmpError        a QEMU refused a command or does not answer
├── LabError        this machine lacks something the lab needs
├── GuestError      the guest runs at neither end, or may run at both: an operator must act
├── CancelledElsewhere  another client of the source QEMU cancelled the migration
├── SourceEnded     the source QEMU ended
├── VirtError       a libvirt refused a request or does not answer
└── UsageError      the caller asked for something impossible

Each class carries the command line's exit code for it.
"""

from __future__ import annotations


def one_line(text: str, longest: int) -> str:
    """Return a text as one printable line of at most ``longest`` characters; of a longer one both ends."""
    line = "".join(
        c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    if len(line) <= longest:
        return line
    end = longest // 2
    return f"{line[: longest - end - 3]} … {line[-end:]}"


class PagethriftError(Exception):
    """Base of all errors; ``str(error)`` is one line that says what, where and what to do.

    Words of files, of other programs and of the command line come into errors: line breaks, control
    characters and sheer length go no further than here.
    """

    exit_code = 1
    longest = 1000
    """characters of the line"""

    def __str__(self) -> str:
        return one_line(super().__str__(), self.longest)


class UsageError(PagethriftError):
    """The caller asked for something that cannot be done."""

    exit_code = 2
    longest = 280


class StreamError(PagethriftError):
    """The migration stream breaks the format, or uses a feature the relay refuses.

    ``offset`` is the position in bytes from the start of the stream.
    """

    exit_code = 3

    def __init__(self, offset: int, expected: str, got: str) -> None:
        super().__init__(f"stream byte {offset}: expected {expected}, got {got}")
        self.offset = offset
        self.expected = expected
        self.got = got

    @property
    def cut_off(self) -> bool:
        """Whether the stream was right as far as it came."""
        return self.got == "its end"


class LinkError(PagethriftError):
    """A socket of the relay could not be opened, stalled or closed early."""

    exit_code = 4


class QmpError(PagethriftError):
    """A QEMU monitor refused a command, is too old or does not answer."""

    exit_code = 5


class LabError(PagethriftError):
    """This machine lacks something the lab needs, or a lab run went wrong."""

    exit_code = 6


class GuestError(PagethriftError):
    """The guest runs at neither end, or nobody can say at which: the line says what to do."""

    exit_code = 7


class CancelledElsewhere(PagethriftError):
    """Another client of the source's monitor cancelled the migration."""

    exit_code = 8


class SourceEnded(PagethriftError):
    """The source QEMU ended, and the guest with it, before it had moved."""

    exit_code = 9


class VirtError(PagethriftError):
    """A libvirt refused a request, is too old or does not answer."""

    exit_code = 10

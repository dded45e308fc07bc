"""What a relay says of itself while it works, one JSON line at a time."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum

from pagethrift.errors import LinkError


class RelayState(StrEnum):
    """Where a relay is in the life of one migration."""

    LISTENING = "listening"
    """kernels compiled, waiting for QEMU's connection"""
    RAM = "ram"
    """between QEMU's first byte and the end of RAM's last section"""
    TAIL = "tail"
    """device state passes through untouched"""
    PIPE = "pipe"
    """something was not understood before the first rewritten byte: bytes are copied untouched"""
    DONE = "done"
    """both sides closed after the whole stream was forwarded"""
    FAILED = "failed"
    """``error`` says why; both sockets are closed, the source guest keeps running"""


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """Counters since the start; bytes are bytes, times are seconds."""

    state: RelayState = RelayState.LISTENING
    now_s: float = 0.0
    """CLOCK_MONOTONIC of the machine at the time of the counters"""
    in_bytes: int = 0
    """read from QEMU"""
    out_bytes: int = 0
    """handed to the link's socket"""
    unsent_bytes: int = 0
    """made by the relay but not yet on the link: its queue and the socket's unsent part"""
    link_bps: float = 0.0
    """bytes per second the link has accepted lately, 0 while unknown"""
    pages_in: int = 0
    zero_pages: int = 0
    """forwarded as ZERO records"""
    full_pages: int = 0
    """forwarded as PAGE records"""
    delta_pages: int = 0
    """forwarded as XBZRLE records"""
    skipped_pages: int = 0
    """not forwarded because the destination already holds them"""
    held_pages: int = 0
    """in the hold buffer now"""
    held_bytes: int = 0
    """what forwarding the held pages now would put on the link"""
    first_round_bytes: int = 0
    """RAM bytes out for pages forwarded for the first time"""
    retransferred_bytes: int = 0
    """RAM bytes out for pages forwarded again"""
    retransferred_pages: int = 0
    """page records that arrived again (skipped ones count)"""
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0
    error: str = ""
    warning: str = ""

    def to_json(self) -> str:
        """Return the status as one line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes) -> RelayStatus:
        """Read one line; unknown keys are ignored, so newer relays stay readable.

        Raises LinkError when the line is not a relay status.
        """
        try:
            data = json.loads(line)
            known = {f.name for f in fields(cls)}
            values = {key: value for key, value in data.items() if key in known}
            values["state"] = RelayState(values["state"])
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise LinkError(f"relay said {line[:80]!r}, which is not a relay status") from error
        return cls(**values)

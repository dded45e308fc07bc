"""What one running relay or migration tells of itself: metrics, `pagethrift top` and the log all read this.

A status socket takes one line of relay_protocol.py, ``{"status": true}`` or ``{"set": {...}}``, and answers
one: ``{"type": "running", ...}``, or ``{"type": "refused", "error": {...}}`` where nothing was changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from pagethrift.errors import LinkError, PagethriftError
from pagethrift.model.error_data import ErrorData, from_data, to_data
from pagethrift.model.json_lines import (
    COUNT_MAX,
    TEXT_MAX,
    NotAMessage,
    known_fields,
    line_of,
    object_in,
    shown,
    text,
    whole,
)
from pagethrift.model.relay_protocol import PROTOCOL_VERSION, RelayState, RelayStatus
from pagethrift.model.result import PageCounters

NAME_MAX = 120
"""characters of a name that is told to others: seven texts of a guest's choice still fit a line"""
_NAMES = ("id", "guest", "source", "destination", "state")


class RunKind(StrEnum):
    """What runs."""

    RELAY = "relay"
    """a relay that somebody else drives, or nobody"""
    MIGRATE = "migrate"
    """a whole migration, its relay included"""


@dataclass(frozen=True, slots=True)
class Running:
    """One relay or migration at one moment; rates are bytes per second."""

    id: str = ""
    """of the migration, the same in every log line, metric and result of it"""
    kind: RunKind = RunKind.RELAY
    pid: int = 0
    guest: str = ""
    """its name, if QEMU was given one"""
    source: str = ""
    """where the stream comes from: the monitor of the source, or where the relay listens"""
    destination: str = ""
    began_unix_s: float = 0.0
    state: str = RelayState.LISTENING.value
    """of a relay: RelayState; of a migration: QEMU's migration status, "setup" before it"""
    round: int = 0
    ram_bytes: int = 0
    """of the guest; 0 while unknown, and for a relay alone"""
    remaining_bytes: int = 0
    """what QEMU still has to send in this round; 0 for a relay alone"""
    in_bytes: int = 0
    """read from QEMU; 0 without a relay"""
    out_bytes: int = 0
    """on the link"""
    unsent_bytes: int = 0
    """waiting for the link"""
    link_bps: float = 0.0
    """0 while unknown"""
    pages: PageCounters = field(default_factory=PageCounters)
    page_bytes: PageCounters = field(default_factory=PageCounters)
    """RAM bytes on the link, by the same kinds"""
    held_pages: int = 0
    held_bytes: int = 0
    first_round_bytes: int = 0
    retransferred_bytes: int = 0
    predicted_downtime_s: float | None = None
    """of a switchover now, or of the one that is decided; None: not known, or nobody predicts"""
    downtime_limit_s: float = 0.0
    """in force now"""
    bandwidth_cap_bps: float = 0.0
    """the most that may go on the link; 0: no limit"""
    cpu_s: float = 0.0
    """of the relay"""
    peak_rss_bytes: int = 0
    """of the relay"""
    relay_pid: int = 0
    """of the relay that a migration started; 0: none"""
    refused: int = 0
    """callers of the relay that were sent away"""
    waits_for_go: bool = False
    """it does not switch over before an operator allows it"""
    switchover: str = ""
    """why the switchover was decided; empty before that"""
    failed: bool = False
    warning: str = ""

    @property
    def queue_s(self) -> float | None:
        """How long what waits now will take; None while the rate of the link is unknown."""
        return self.unsent_bytes / self.link_bps if self.link_bps > 0 else None

    @property
    def ratio(self) -> float | None:
        """Bytes on the link for each byte from QEMU; None before the first, and without a relay."""
        return self.out_bytes / self.in_bytes if self.in_bytes else None

    def with_relay(self, status: RelayStatus) -> Running:
        """Return the same with a relay's newest counters."""
        return replace(
            self,
            state=status.state.value,
            round=status.round,
            in_bytes=status.in_bytes,
            out_bytes=status.out_bytes,
            unsent_bytes=status.unsent_bytes,
            link_bps=status.link_bps,
            pages=status.pages,
            page_bytes=status.page_bytes,
            held_pages=status.held_pages,
            held_bytes=status.held_bytes,
            first_round_bytes=status.first_round_bytes,
            retransferred_bytes=status.retransferred_bytes,
            downtime_limit_s=status.downtime_limit_s,
            bandwidth_cap_bps=status.bandwidth_cap_bps,
            cpu_s=status.cpu_s,
            peak_rss_bytes=status.peak_rss_bytes,
            refused=status.refused,
            failed=status.state is RelayState.FAILED,
            warning=status.warning,
        )

    def to_data(self) -> dict[str, Any]:
        """Return it for a program, with what follows from its fields."""
        return {**asdict(self), "queue_s": self.queue_s, "ratio": self.ratio}


def encode_running(running: Running) -> bytes:
    """Return an answer as a line."""
    data = running.to_data()
    data |= {name: data[name][:NAME_MAX] for name in _NAMES}
    return line_of({"type": "running", "protocol": PROTOCOL_VERSION, **data})


def encode_refusal(error: BaseException) -> bytes:
    """Return the answer that nothing was changed, and why, as a line."""
    return line_of({"type": "refused", "protocol": PROTOCOL_VERSION, "error": asdict(to_data(error))})


def decode_answer(line: bytes) -> Running:
    """Read a status socket's answer. Raises the error that it holds, and LinkError when it is no answer."""
    try:
        data = object_in(line)
        version = whole(data, "protocol", COUNT_MAX)
        if version != PROTOCOL_VERSION:
            raise NotAMessage(f"it is of protocol {version}, this pagethrift speaks {PROTOCOL_VERSION}")
        match data.get("type"):
            case "running":
                return Running(**known_fields(Running, data), kind=_kind(data.get("kind")))
            case "refused":
                refusal = _refusal(data.get("error"))
            case _:
                raise NotAMessage('its "type" is neither "running" nor "refused"')
    except NotAMessage as error:
        raise LinkError(f"a status socket said {shown(line)}: {error}") from error
    raise refusal


def _kind(value: object) -> RunKind:
    try:
        return RunKind(value)  # type: ignore[arg-type]
    except ValueError as error:
        raise NotAMessage('its "kind" is unknown') from error


def _refusal(data: object) -> PagethriftError:
    if not isinstance(data, Mapping):
        raise NotAMessage('"error" is not a JSON object')
    return from_data(ErrorData(text(data, "kind", TEXT_MAX), text(data, "message", TEXT_MAX)))

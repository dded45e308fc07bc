"""The migration link in a scenario."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pagethrift.errors import UsageError
from pagethrift.model.run_result import LinkChange
from pagethrift.toml_table import TomlTable
from pagethrift.units import parse_bandwidth, parse_seconds

_BANDWIDTH_BPS = 12_500_000
_DELAY_MAX_S = 5.0


class Security(StrEnum):
    """What protects the migration on the link."""

    NONE = "none"
    SSH = "ssh"
    """an OpenSSH tunnel (ssh -L)"""
    TLS = "tls"
    """stunnel at both ends, each with a certificate the other one knows"""


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """The rate, delay and protection of the link."""

    bandwidth_bps: int | None = _BANDWIDTH_BPS
    """bytes per second; None = not shaped"""
    changes: tuple[LinkChange, ...] = ()
    """in the order of their times"""
    delay_s: float = 0.0
    """added to every byte, in each direction"""
    security: Security = Security.NONE

    @property
    def fastest_bps(self) -> int | None:
        """The highest of all its bandwidths, None when it is unshaped at some time."""
        rates = [self.bandwidth_bps, *(change.bandwidth_bps for change in self.changes)]
        known = [rate for rate in rates if rate is not None]
        return max(known) if len(known) == len(rates) else None


def read_link(table: TomlTable) -> LinkSpec:
    """Read the table ``[link]``. Raises UsageError that names the key."""
    link = LinkSpec(
        bandwidth_bps=table.quantity("bandwidth", _bandwidth, _BANDWIDTH_BPS),
        changes=tuple(_change(row) for row in table.tables("changes")),
        delay_s=table.quantity("delay", parse_seconds, 0.0),
        security=table.quantity("security", _security, Security.NONE),
    )
    table.refuse_rest()
    times = [change.after_s for change in link.changes]
    if times != sorted(times):
        raise UsageError("link.changes must be in the order of their times (after)")
    if link.delay_s > _DELAY_MAX_S:
        raise UsageError(f"link.delay is {link.delay_s:g} s; at most {_DELAY_MAX_S:g} s can be added")
    return link


def _change(row: TomlTable) -> LinkChange:
    missing = {"after", "bandwidth"} - row.rest.keys()
    if missing:
        raise UsageError(f"link.changes needs {min(missing)}, as in {{after = '5s', bandwidth = '50Mbit'}}")
    change = LinkChange(
        row.quantity("after", parse_seconds, 0.0), row.quantity("bandwidth", _bandwidth, None)
    )
    row.refuse_rest()
    return change


def _bandwidth(text: str) -> int | None:
    return None if text == "unshaped" else parse_bandwidth(text)


def _security(text: str) -> Security:
    try:
        return Security(text)
    except ValueError:
        raise UsageError(f"no {text!r}; choose one of {', '.join(Security)}") from None

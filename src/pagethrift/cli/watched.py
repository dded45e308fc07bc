"""Which guest a command watches: one of QMP or one of libvirt."""

from __future__ import annotations

from pagethrift.address import parse_qmp_path
from pagethrift.errors import UsageError
from pagethrift.live.dry_run import QmpGuest, Watched


def guest_of(qmp: str | None, domain: str | None, connect: str) -> Watched | None:
    """Return the guest to watch; None where neither is given. Raises UsageError."""
    if domain is not None and qmp is not None:
        raise UsageError("give one of --qmp SOCKET and --domain NAME")
    if domain is None:
        return QmpGuest(parse_qmp_path(qmp, "--qmp")) if qmp is not None else None
    # here, not above: other guests need nothing of libvirt
    from pagethrift.virt.dry_run import DomainGuest

    return DomainGuest(domain, connect)

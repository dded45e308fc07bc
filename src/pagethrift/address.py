"""Addresses as operators write them: ``unix:PATH`` or ``HOST:PORT`` (``[v6]:PORT``)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pagethrift.errors import UsageError


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a stream socket."""

    path: str = ""
    """Unix socket path; empty for TCP"""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def qemu_uri(self) -> str:
        """Return the address as QEMU's ``migrate`` and ``migrate-incoming`` take it."""
        return str(self) if self.path else f"tcp:{self}"


def parse_address(text: str) -> Address:
    """Read an address; a leading ``tcp:`` is allowed. Raises UsageError."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path or len(os.fsencode(path)) > 107:
            raise UsageError(f"{text!r}: a Unix socket path has 1 to 107 bytes")
        return Address(path=path)
    host, colon, port = text.removeprefix("tcp:").rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise UsageError(f"{text!r} is not an address; write unix:PATH or HOST:PORT")
    return Address(host=host.strip("[]"), port=int(port))

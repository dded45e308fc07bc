"""Telling systemd how the service is (sd_notify(3)): ready, or about to end."""

from __future__ import annotations

import contextlib
import os
import socket

VARIABLE = "NOTIFY_SOCKET"


class Supervisor:
    """Who started the service, if it listens for such words; the service's children do not learn of it."""

    def __init__(self) -> None:
        self._path = os.environ.pop(VARIABLE, "")

    def say(self, *lines: str) -> None:
        """Say lines such as READY=1; nobody hears them where no supervisor listens."""
        if not self._path:
            return
        name = f"\0{self._path[1:]}" if self._path.startswith("@") else self._path
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
            found.setblocking(False)
            found.sendto("\n".join(lines).encode(), name)

"""How much a service takes on."""

from __future__ import annotations

from dataclasses import dataclass

MOST = 8
CONNECTIONS = 512
PER_HOST = 300
"""QEMU connects up to 255 channels and main before anybody accepts"""
SILENCE_S = 0.3
DRAIN_S = 300.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the service takes on."""

    most: int = MOST
    """migrations at once; further ones wait"""
    connections: int = CONNECTIONS
    """that are not handed to a relay: being sorted out, waiting, piped"""
    per_host: int = PER_HOST
    """of these, from one host"""
    silence_s: float = SILENCE_S
    """how long a client may be silent before its destination is connected; 0: for ever"""
    drain_s: float = DRAIN_S
    """how long running migrations may take once the service was told to end"""

"""When the intake may gather: the link is fast, or not known yet, and has enough to send."""

from __future__ import annotations

import socket

import pytest

from pagethrift.model.defaults import FAST_BPS
from pagethrift.relay.connection import Connection
from pagethrift.relay.outlet import BUSY_BYTES, Outlet


@pytest.mark.parametrize(
    ("rate_bps", "queued_bytes", "busy"),
    [
        (0.0, BUSY_BYTES, True),
        (FAST_BPS, BUSY_BYTES, True),
        (FAST_BPS, 0, False),
        (FAST_BPS / 2, BUSY_BYTES, False),
    ],
)
def test_a_link_is_busy_when_it_is_fast_and_has_enough(
    rate_bps: float, queued_bytes: int, busy: bool
) -> None:
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    with near, far:
        outlet = Outlet(Connection(near), 5.0, lambda error: None, rate_bps)
        if queued_bytes:
            output = outlet.take()
            output.size = 2 * queued_bytes
            outlet.put(output)
        assert outlet.busy() is busy
        outlet.abandon()

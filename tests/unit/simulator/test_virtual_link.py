"""The virtual link against arithmetic."""

from __future__ import annotations

import pytest

from pagethrift.errors import UsageError
from pagethrift.simulator.virtual_link import LinkSpec, VirtualLink


def test_bytes_queue_up() -> None:
    link = VirtualLink(LinkSpec(1000.0))
    assert link.send(500, 0.0) == 0.5
    assert link.send(500, 0.1) == 1.0
    assert link.unsent_bytes(0.25) == 750
    assert link.send(100, 3.0) == pytest.approx(3.1)
    assert link.unsent_bytes(5.0) == 0
    assert link.sent_bytes == 1100
    assert link.rate_bps(1.0) == 1000


def test_steps() -> None:
    link = VirtualLink(LinkSpec(1000.0, steps=((1.0, 100.0), (2.0, 0.0), (3.0, 500.0))))
    assert link.send(1050, 0.0) == pytest.approx(1.5)
    assert link.send(100, 1.5) == pytest.approx(3.1)
    assert link.unsent_bytes(2.5) == 50
    assert link.rate_bps(0.5) == pytest.approx(1000)
    assert link.rate_bps(1.1) == pytest.approx((0.1 * 1000 + 0.1 * 100) / 0.2)
    assert link.rate_bps(2.9) == 0
    assert link.send(500, 10.0) == pytest.approx(11.0)


@pytest.mark.parametrize(
    "spec",
    [
        LinkSpec(0.0),
        LinkSpec(1.0, delay_s=-1.0),
        LinkSpec(1.0, steps=((2.0, 1.0), (1.0, 1.0))),
        LinkSpec(1.0, steps=((1.0, -1.0), (2.0, 1.0))),
        LinkSpec(1.0, steps=((1.0, 0.0),)),
    ],
)
def test_impossible_links(spec: LinkSpec) -> None:
    with pytest.raises(UsageError):
        VirtualLink(spec)

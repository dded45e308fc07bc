"""Two hosts and a client on one machine: three network namespaces, joined and shaped.

    client namespace   bridge br0, 10.99.0.1/24
       |        |
    uplink   uplink    (veth pairs)
       |        |
    host A   host B    each: bridge br0 (10.99.0.2, 10.99.0.3) with the uplink and the guest's tap0
       +--link--+      veth pair, 10.88.0.1 and 10.88.0.2: the migration link, shaped

The guest keeps its address and MAC when it moves from A to B.
"""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from pagethrift.errors import LabError, UsageError
from pagethrift.lab.hosts import namespaces
from pagethrift.lab.hosts.namespaces import NamespaceThread, sweep_leftovers

__all__ = ["Host", "TwoHosts", "sweep_leftovers"]

CLIENT_ADDRESS = "10.99.0.1"
HOST_ADDRESSES = {"A": "10.99.0.2", "B": "10.99.0.3"}
"""the hosts' own addresses, for storage"""
GUEST_ADDRESS = "10.99.0.10"
GUEST_MAC = "52:54:00:99:00:10"
PREFIX_LENGTH = 24

_BURST_BYTES = 512 * 1024
# tbf drops frames that would wait longer, so this is the depth of the link's own queue.
_QUEUE_S = 0.1
# tbf's rate field has 32 bits; this is enough to mean "no shaping" on one machine.
_UNSHAPED_BPS = 4_000_000_000
_LINK, _TAP, _BRIDGE, _UPLINK = "link0", "tap0", "br0", "uplink0"
_ROOT = 0xFFFFFFFF
_TBF_CLASS = 0x10001
_FRAME_BYTES = 1514


@dataclass(frozen=True, slots=True)
class Host:
    """One of the two hosts."""

    name: str
    """A or B"""
    namespace: str
    link_address: str
    """its address on the migration link"""
    tap: str = _TAP


class TwoHosts:
    """Context manager: builds the network on entry and always removes it on exit."""

    def __init__(self, *, link_bps: int | None = None, back_bps: int | None = None) -> None:
        """Plan a link that carries ``link_bps`` bytes/s from A to B and ``back_bps`` from B to A.

        None means not shaped. The rates count Ethernet frames with their headers, as a NIC would
        (without preamble and checksum): 12.5 MB/s carry 11.95 MB/s of TCP payload.
        """
        run = namespaces.unique_prefix()
        self.a = Host("A", f"{run}-a", "10.88.0.1")
        self.b = Host("B", f"{run}-b", "10.88.0.2")
        self.client_namespace = f"{run}-c"
        self._rates_bps = {"A": link_bps, "B": back_bps}
        self._stack = ExitStack()
        self._sides: dict[str, _Side] = {}

    def __enter__(self) -> TwoHosts:
        """Build everything. Raises LabError when the machine does not allow it."""
        try:
            self._build()
        except NetlinkError as error:
            self._stack.close()
            raise LabError(f"building the lab network: {error}; the lab needs root, veth and tbf") from error
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def set_link_bps(self, link_bps: int | None, *, back: bool = False) -> None:
        """Change the rate from A to B (``back``: from B to A) while traffic flows; counters go on."""
        self._sides["B" if back else "A"].shape(link_bps)

    def add_delay(self, delay_s: float, fastest_bps: int | None) -> bool:
        """Delay every frame in each direction by netem; do nothing and return False without netem.

        ``fastest_bps`` is the highest rate (bytes/s) the link will have; None = not shaped.
        """
        rate_bps = fastest_bps or _UNSHAPED_BPS
        frames = max(1000, int(2 * rate_bps * (delay_s + _QUEUE_S) / _FRAME_BYTES))
        return all(side.delay(delay_s, frames) for side in (self._sides["A"], self._sides["B"]))

    def bytes_sent(self, *, back: bool = False) -> int:
        """Return the bytes put on the migration link by A (``back``: by B) since it was built.

        Whole Ethernet frames, retransmissions and acknowledgements included, as its queueing
        discipline counts them.
        """
        return self._sides["B" if back else "A"].bytes_sent()

    def connect(self, host: str, port: int, timeout_s: float = 5.0) -> socket.socket:
        """Return a TCP connection from the client namespace. Raises LinkError."""
        return namespaces.connect_from(self.client_namespace, (host, port), timeout_s)

    def _build(self) -> None:
        client = self._side(self.client_namespace)
        client.add("bridge", _BRIDGE)
        client.address(_BRIDGE, CLIENT_ADDRESS)
        for host, other in ((self.a, self.b), (self.b, self.a)):
            side = self._sides[host.name] = self._side(host.namespace)
            side.add("bridge", _BRIDGE)
            side.address(_BRIDGE, HOST_ADDRESSES[host.name])
            namespaces.add_tap(host.namespace, host.tap)
            port = f"host-{host.name.lower()}"
            side.add("veth", _UPLINK, peer={"ifname": port, "net_ns_fd": client.fd_path})
            for device in (host.tap, _UPLINK):
                side.up(device, master=_BRIDGE)
            client.up(port, master=_BRIDGE)
            if other.name not in self._sides:
                continue
            far = self._sides[other.name]
            side.add("veth", _LINK, peer={"ifname": _LINK, "net_ns_fd": far.fd_path})
            for end, at in ((side, host), (far, other)):
                end.address(_LINK, at.link_address)
                end.shape(self._rates_bps[at.name])

    def _side(self, namespace: str) -> _Side:
        # Registered before it is made, so that a half-made one is removed as well.
        self._stack.callback(namespaces.remove, namespace)
        namespaces.create(namespace)
        side = _Side(namespace)
        self._stack.callback(side.close)
        return side


class _Side:
    """The devices of one namespace, through a netlink socket that lives in it."""

    def __init__(self, namespace: str) -> None:
        self.fd_path = f"/run/netns/{namespace}"
        self._thread = NamespaceThread(namespace)
        try:
            self._route: Any = self._thread.call(IPRoute)
        except BaseException:
            self._thread.close()
            raise

    def close(self) -> None:
        self._thread.call(self._route.close)
        self._thread.close()

    def add(self, kind: str, device: str, **more: Any) -> None:
        self._thread.call(self._route.link, "add", ifname=device, kind=kind, **more)
        self.up(device)

    def up(self, device: str, *, master: str | None = None) -> None:
        def work() -> None:
            more = {} if master is None else {"master": self._index(master)}
            self._route.link("set", index=self._index(device), state="up", **more)

        self._thread.call(work)

    def address(self, device: str, address: str) -> None:
        def work() -> None:
            self._route.addr("add", index=self._index(device), address=address, prefixlen=PREFIX_LENGTH)

        self._thread.call(work)
        self.up(device)

    def shape(self, rate_bps: int | None) -> None:
        if rate_bps is not None and rate_bps <= 0:
            raise UsageError(f"a link of {rate_bps} bytes/s cannot be made; use a positive rate or None")
        rate = min(rate_bps or _UNSHAPED_BPS, _UNSHAPED_BPS)

        def work() -> None:
            # "replace" changes an existing tbf in place, so its counters are kept.
            self._route.tc(
                "replace",
                "tbf",
                self._index(_LINK),
                0x10000,
                parent=_ROOT,
                rate=rate,
                burst=_BURST_BYTES,
                latency=f"{_QUEUE_S * 1000:.0f}ms",
            )

        self._thread.call(work)

    def delay(self, delay_s: float, limit_frames: int) -> bool:
        def work() -> bool:
            try:
                self._route.tc(
                    "replace",
                    "netem",
                    self._index(_LINK),
                    0x20000,
                    parent=_TBF_CLASS,
                    delay=round(delay_s * 1e6),
                    limit=limit_frames,
                )
            except NetlinkError as error:
                if error.code == errno.ENOENT:  # the kernel knows no such discipline
                    return False
                raise
            return True

        return self._thread.call(work)

    def bytes_sent(self) -> int:
        def work() -> int:
            for message in self._route.get_qdiscs(index=self._index(_LINK)):
                if message.get_attr("TCA_KIND") == "tbf":
                    return int(message.get_attr("TCA_STATS2").get_attr("TCA_STATS_BASIC")["bytes"])
            raise LabError("the migration link has lost its tbf; something else has changed the network")

        return self._thread.call(work)

    def _index(self, device: str) -> int:
        found = self._route.link_lookup(ifname=device)
        if not found:
            raise LabError(f"device {device} is missing in the lab network; something else has removed it")
        return int(found[0])

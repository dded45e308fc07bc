"""The two hosts: real namespaces, real shaping."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from pagethrift.errors import LinkError, UsageError
from pagethrift.lab import doctor
from pagethrift.lab.hosts import namespaces
from pagethrift.lab.hosts.network import CLIENT_ADDRESS, TwoHosts, sweep_leftovers

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("lab_network")]

# An Ethernet frame of 1514 bytes carries 1448 bytes of TCP payload (timestamps on).
FRAME_RATIO = 1514 / 1448


class Transfer:
    """Sends over the migration link as fast as it goes and counts what arrives."""

    def __init__(self, hosts: TwoHosts) -> None:
        far = namespaces.NamespaceThread(hosts.b.namespace)
        listener = far.call(socket.create_server, (hosts.b.link_address, 0))
        far.close()
        port = listener.getsockname()[1]
        self.sender = namespaces.connect_from(hosts.a.namespace, (hosts.b.link_address, port), 5)
        self.receiver, _ = listener.accept()
        listener.close()
        self.received_bytes = 0
        self.threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        for thread in self.threads:
            thread.start()

    def _send(self) -> None:
        try:
            while True:
                self.sender.sendall(bytes(65536))
        except OSError:
            pass

    def _receive(self) -> None:
        while data := self.receiver.recv(1 << 20):
            self.received_bytes += len(data)

    def close(self) -> None:
        self.sender.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)
        self.sender.close()
        self.receiver.close()


@pytest.fixture
def hosts() -> Iterator[TwoHosts]:
    with TwoHosts(link_bps=12_500_000) as built:
        yield built


# What the token bucket lets pass at once.
BURST_BYTES = 512 * 1024


def reaches(hosts: TwoHosts, link_bps: float) -> bool:
    """Whether the link never carries more than its rate, and in one of twenty seconds nearly that.

    The clock is read before a window's first count and after its last: a busy machine makes a window slower,
    never faster than the link.
    """
    for _ in range(20):
        began_s, before = time.monotonic(), hosts.bytes_sent()
        time.sleep(1.0)
        counted = hosts.bytes_sent() - before
        took_s = time.monotonic() - began_s
        assert counted <= took_s * link_bps + BURST_BYTES
        if counted > 0.9 * took_s * link_bps:
            return True
    return False


def test_the_link_carries_its_rate_and_changes_live(hosts: TwoHosts) -> None:
    transfer = Transfer(hosts)
    try:
        assert reaches(hosts, 12_500_000)
        before = hosts.bytes_sent()
        hosts.set_link_bps(25_000_000)
        assert hosts.bytes_sent() >= before
        assert reaches(hosts, 25_000_000)
    finally:
        transfer.close()
    # Every byte that arrived is counted, with its headers; the buckets' queue and the sockets hold the rest.
    assert transfer.received_bytes * FRAME_RATIO <= hosts.bytes_sent() * 1.02


def test_a_delay_by_the_kernel_is_real_or_refused(hosts: TwoHosts) -> None:
    kernel_can = "OK" in {
        check.status.name for check in doctor.examine_network() if check.name == "added delay (netem)"
    }
    assert hosts.add_delay(0.1, 12_500_000) == kernel_can
    hosts.set_link_bps(25_000_000)  # a change of rate leaves the delay in place
    far = namespaces.NamespaceThread(hosts.b.namespace)
    listener = far.call(socket.create_server, (hosts.b.link_address, 0))
    far.close()
    sender = namespaces.connect_from(hosts.a.namespace, listener.getsockname(), 5)
    receiver, _ = listener.accept()
    for end in (sender, receiver):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    began_s = time.monotonic()
    sender.sendall(b"x")
    assert receiver.recv(1) == b"x"
    receiver.sendall(b"x")
    assert sender.recv(1) == b"x"
    took_s = time.monotonic() - began_s
    assert took_s >= 0.2 if kernel_can else took_s < 0.2
    for end in (sender, receiver, listener):
        end.close()


def test_everything_sent_is_counted_once(hosts: TwoHosts) -> None:
    far = namespaces.NamespaceThread(hosts.b.namespace)
    listener = far.call(socket.create_server, (hosts.b.link_address, 0))
    far.close()
    before = hosts.bytes_sent()
    sender = namespaces.connect_from(hosts.a.namespace, listener.getsockname(), 5)
    receiver, _ = listener.accept()

    def send() -> None:
        with sender:
            sender.sendall(bytes(4_000_000))

    threading.Thread(target=send).start()
    received = 0
    while data := receiver.recv(1 << 20):
        received += len(data)
    receiver.close()
    listener.close()
    assert received == 4_000_000
    assert hosts.bytes_sent() - before == pytest.approx(4_000_000 * FRAME_RATIO, rel=0.02)
    assert hosts.bytes_sent(back=True) < 400_000


def test_an_idle_link_is_silent(hosts: TwoHosts) -> None:
    time.sleep(1.0)
    assert hosts.bytes_sent() == 0
    assert hosts.bytes_sent(back=True) == 0


def test_the_client_reaches_both_hosts_bridges_but_not_the_link(hosts: TwoHosts) -> None:
    for host in (hosts.a, hosts.b):
        subprocess.run(
            ["ip", "-n", host.namespace, "address", "add", "10.99.0.77/24", "dev", "br0"], check=True
        )
        inside = namespaces.NamespaceThread(host.namespace)
        listener = inside.call(socket.create_server, ("10.99.0.77", 5555))
        inside.close()
        hosts.connect("10.99.0.77", 5555).close()
        _, (address, _) = listener.accept()
        assert address == CLIENT_ADDRESS
        listener.close()
        subprocess.run(
            ["ip", "-n", host.namespace, "address", "delete", "10.99.0.77/24", "dev", "br0"], check=True
        )
        subprocess.run(["ip", "-n", hosts.client_namespace, "neighbour", "flush", "all"], check=True)
    with pytest.raises(LinkError, match=r"10\.88\.0\.1"):
        hosts.connect(hosts.a.link_address, 5555, timeout_s=0.3)


def test_all_namespaces_go_also_after_an_exception() -> None:
    hosts = TwoHosts()
    names = {hosts.a.namespace, hosts.b.namespace, hosts.client_namespace}

    def fail() -> None:
        with hosts:
            assert names <= set(os.listdir("/run/netns"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not names & set(os.listdir("/run/netns"))


def test_a_failed_build_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(namespace: str, device: str) -> None:
        raise RuntimeError(namespace)

    monkeypatch.setattr(namespaces, "add_tap", fail)
    hosts = TwoHosts()
    with pytest.raises(RuntimeError), hosts:
        pass
    assert not {name for name in os.listdir("/run/netns") if name.startswith(hosts.a.namespace[:-2])}


def test_two_labs_stand_side_by_side(hosts: TwoHosts) -> None:
    with TwoHosts() as other:
        assert other.a.namespace != hosts.a.namespace
        assert other.bytes_sent() == 0


def test_sweep_takes_the_dead_and_spares_the_living(hosts: TwoHosts) -> None:
    code = (
        "import os\nfrom pagethrift.lab.hosts.network import TwoHosts\n"
        "hosts = TwoHosts()\nhosts.__enter__()\nprint(hosts.a.namespace, flush=True)\nos._exit(9)"
    )
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    name = dead.stdout.strip()
    assert name in os.listdir("/run/netns")
    assert name in sweep_leftovers()
    left = os.listdir("/run/netns")
    assert name not in left
    assert hosts.a.namespace in left


@pytest.mark.parametrize("rate", [0, -1])
def test_an_impossible_rate_is_refused(hosts: TwoHosts, rate: int) -> None:
    with pytest.raises(UsageError):
        hosts.set_link_bps(rate)

"""The relay's sockets when somebody stops answering: it must end, say why, and disturb nobody else."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pagethrift.address import Address
from pagethrift.errors import LinkError
from pagethrift.model.methods import Allow
from pagethrift.model.relay_protocol import Change, RelayState, RelayStatus
from pagethrift.relay.session import Relay
from pagethrift.sockets import listen
from pagethrift.strategies.base import PageFacts, Strategy
from pagethrift.strategies.table import strategy
from pagethrift.stream.synthetic import StreamBuilder
from tests.streams import chaos


@dataclass
class Scene:
    """A relay between a source and a destination that the test plays."""

    folder: Path
    statuses: list[RelayStatus] = field(default_factory=list)
    outcome: list[BaseException | None] = field(default_factory=list)
    thread: threading.Thread | None = None
    relay: Relay | None = None
    sockets: list[socket.socket] = field(default_factory=list)

    def begin(self, row: Strategy, stall_timeout_s: float) -> tuple[socket.socket, socket.socket]:
        """Start the relay; return the source's socket and the destination's listener."""
        near, far = Address(path=str(self.folder / "near")), Address(path=str(self.folder / "far"))
        listener = listen(far)
        self.relay = relay = Relay(near, far, row, self.statuses.append, stall_timeout_s=stall_timeout_s)

        def run() -> None:
            try:
                relay.run()
                self.outcome.append(None)
            except BaseException as error:
                self.outcome.append(error)

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        source = socket.socket(socket.AF_UNIX)
        source.connect(near.path)
        self.sockets += [source, listener]
        return source, listener

    def wait(self, timeout_s: float) -> bool:
        assert self.thread is not None
        self.thread.join(timeout_s)
        return not self.thread.is_alive()


@pytest.fixture
def scene(folder: Path) -> Iterator[Scene]:
    scene = Scene(folder)
    yield scene
    for each in scene.sockets:
        each.close()
    scene.wait(3)


def stream_of(pages: int) -> bytes:
    builder, rng = StreamBuilder([("pc.ram", 256)]), random.Random(1)
    builder.begin_body(last=True)
    for i in range(pages):
        builder.page(0, i, rng.randbytes(4096))
    builder.end_body()
    return builder.finish(b"\x04device state")


@pytest.mark.parametrize("pages", [70, 250])
def test_a_link_that_stalls_ends_the_relay_even_when_the_source_has_nothing_more_to_say(
    scene: Scene, pages: int
) -> None:
    """After its last byte QEMU waits, its guest stopped, for an answer that cannot come.

    70 pages fit the socket and the relay's queue, so that the relay waits for the source; 250 do not.
    """
    source, listener = scene.begin(strategy("kvm-default"), stall_timeout_s=0.5)
    sender = threading.Thread(target=lambda: _try_send(source, stream_of(pages)), daemon=True)
    sender.start()
    destination, _ = listener.accept()
    scene.sockets.append(destination)
    assert scene.wait(4), "the relay hangs in recv() although its link is dead"
    assert isinstance(scene.outcome[0], LinkError)
    assert "has taken nothing" in str(scene.outcome[0])
    assert scene.statuses[-1].state is RelayState.FAILED
    sender.join(3)


def _try_send(source: socket.socket, data: bytes) -> None:
    try:
        source.sendall(data)
    except OSError:
        return


class Raises:
    """An encode answer with a bug."""

    def allow(self, facts: PageFacts) -> Allow:
        raise RuntimeError("a bug in a strategy")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_is_reported_as_a_failure(scene: Scene) -> None:
    """Also an exception nobody foresaw (MemoryError, a strategy's bug) ends in FAILED, with a reason."""
    row = chaos(1)
    object.__setattr__(row, "encode", Raises())
    source, listener = scene.begin(row, stall_timeout_s=5)
    threading.Thread(target=lambda: _try_send(source, stream_of(20)), daemon=True).start()
    destination, _ = listener.accept()
    scene.sockets.append(destination)
    assert scene.wait(4)
    assert scene.statuses[-1].state is RelayState.FAILED
    assert str(scene.outcome[0]) == "a bug in a strategy"


def test_a_source_that_closes_early_is_an_error_and_the_destination_is_let_go(scene: Scene) -> None:
    source, listener = scene.begin(strategy("pagethrift"), stall_timeout_s=5)
    source.sendall(stream_of(3)[:9000])
    destination, _ = listener.accept()
    scene.sockets.append(destination)
    source.close()
    assert scene.wait(4)
    assert "got its end" in str(scene.outcome[0])
    destination.settimeout(3)
    while destination.recv(65536):
        pass
    assert scene.statuses[-1].state is RelayState.FAILED


def test_aborting_does_not_wait_for_a_destination_that_does_not_answer(scene: Scene) -> None:
    """A connection that is still being made has no socket yet that abort() could close."""
    source, listener = scene.begin(strategy("pagethrift"), 30)
    listener.close()
    listener = listen(Address(path=str(scene.folder / "far")), 0)
    clients = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for client in clients:
        client.setblocking(False)
        client.connect_ex(str(scene.folder / "far"))
    scene.sockets += [listener, *clients]
    source.sendall(StreamBuilder([("pc.ram", 4)]).finish())
    assert scene.relay is not None
    assert not scene.wait(1), "it waits for the destination"
    scene.relay.abort(LinkError("enough"))
    assert scene.wait(3)
    assert str(scene.outcome[0]) == "enough"


@pytest.mark.slow
def test_limits_that_are_changed_before_the_source_comes_hold(scene: Scene) -> None:
    builder = StreamBuilder([("ram", 256)], return_path=False)
    builder.begin_body(True)
    for page in range(256):
        builder.page(0, page, random.Random(page).randbytes(4096))
    builder.end_body()
    source, listener = scene.begin(strategy("pagethrift"), 5.0)
    assert scene.relay is not None
    scene.relay.change(Change(0.7, 1_000_000))
    status = scene.relay.status()
    assert (status.downtime_limit_s, status.bandwidth_cap_bps) == (0.7, 1e6)
    sender = threading.Thread(target=source.sendall, args=(builder.finish(),), daemon=True)
    began_s = time.monotonic()
    sender.start()
    listener.settimeout(10)
    destination, _ = listener.accept()
    scene.sockets.append(destination)
    carried = 0
    while carried < 1 << 20:
        carried += len(destination.recv(1 << 20))
    assert time.monotonic() - began_s > 0.6
    assert scene.relay.status().page_bytes.full >= 1 << 20
    scene.relay.change(Change(None, 0))
    assert scene.relay.status().bandwidth_cap_bps == 0

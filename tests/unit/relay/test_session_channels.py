"""A relay with compressed channels on real sockets: it ends well, or at once with one clear line."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pagethrift.address import Address
from pagethrift.errors import LinkError
from pagethrift.model.channels import ChannelSettings, Compress, SyncMode
from pagethrift.model.relay_protocol import RelayState, RelayStatus
from pagethrift.relay import probe
from pagethrift.relay.session import Relay
from pagethrift.strategies.table import strategy
from pagethrift.stream.image import image
from pagethrift.stream.synthetic import StreamBuilder
from tests.destination import UUID, Carried, load
from tests.streams import before
from tests.unit.relay.channel_destination import END, LOADED, FakeDestination
from tests.unit.relay.channel_ends import eventually

OURS = ("channel-out", "channel-in", "link", "return", "report")
BLOCKS = [("pc.ram", 2048)]
ROUND, SECTION = SyncMode.ROUND, SyncMode.SECTION


class Scene:
    """A relay between a source and a destination that the test plays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.statuses: list[RelayStatus] = []
        self.error: BaseException | None = None
        self.destination: FakeDestination | None = None
        self.source = socket.socket(socket.AF_UNIX)
        self.relay: Relay | None = None
        self._thread: threading.Thread | None = None
        self._threads_before = set(threading.enumerate())

    def begin(
        self,
        mode: SyncMode | None,
        channels: int = 2,
        expected: int | None = None,
        late_s: float = 0.0,
        stall_timeout_s: float = 5.0,
    ) -> FakeDestination:
        """Start both; ``expected``: by the destination, if that is another number of channels."""
        self.destination = FakeDestination(self.folder, expected or channels, mode, late_s)
        near, far = Address(path=str(self.folder / "near")), Address(path=str(self.folder / "far"))
        over = ChannelSettings(channels, UUID, Compress.ON, window_log=20)
        self.relay = Relay(
            near, far, strategy("pagethrift"), self.statuses.append, stall_timeout_s=stall_timeout_s,
            channels=over,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.source.connect(near.path)
        self.source.settimeout(5)
        return self.destination

    def _run(self) -> None:
        assert self.relay is not None
        try:
            self.relay.run()
        except BaseException as error:
            self.error = error

    def send(self, data: bytes) -> None:
        """Send in a thread, as long as the relay takes it."""

        def run() -> None:
            try:
                self.source.sendall(data)
            except OSError:
                return

        threading.Thread(target=run, daemon=True).start()

    def ended(self, timeout_s: float = 5.0) -> bool:
        """Whether the relay has ended, with all its threads."""
        assert self._thread is not None
        self._thread.join(timeout_s)
        left = [each for each in set(threading.enumerate()) - self._threads_before if each.name in OURS]
        for thread in left:
            thread.join(3)
        return not any(each.is_alive() for each in (self._thread, *left))

    def completed(self) -> None:
        """The source hears that the guest was loaded, and closes; the relay ends well."""
        assert self.source.recv(100) == LOADED, "nothing else: the PONG was not for the source"
        self.source.close()
        assert self.ended()
        assert self.error is None
        assert self.statuses[-1].state is RelayState.DONE

    def failed_with(self, says: str, within_s: float = 2.0) -> None:
        """The source's socket is closed at once, and the relay ends with one line."""
        self.source.settimeout(within_s)
        with contextlib.suppress(ConnectionResetError):
            assert self.source.recv(100) == b"", "the source must fail its migration now"
        assert self.ended()
        assert isinstance(self.error, LinkError), self.error
        assert says in str(self.error)
        assert "\n" not in str(self.error)
        assert self.statuses[-1].state is RelayState.FAILED

    def close(self) -> None:
        self.source.close()
        if self.destination:
            self.destination.close()
        if self.relay:
            self.relay.abort(LinkError("the test is over"))
        self.ended(3)


@pytest.fixture
def scene(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(probe, "SILENCE_S", dict.fromkeys(probe.SILENCE_S, 0.4))
    monkeypatch.setattr(probe, "LEAST_ANSWER_S", 0.5)
    scene = Scene(folder)
    yield scene
    scene.close()


def stream_of(rounds: int, pages: range, finished: bool = True) -> bytes:
    """Each round sends the pages again, changed; ``finished`` False: RAM goes on."""
    builder, rng = StreamBuilder(BLOCKS, return_path=True), np.random.default_rng(1)
    memory = rng.integers(0, 256, (len(pages), 4096), np.uint8)
    for number in range(rounds):
        builder.begin_body(last=finished and number == rounds - 1)
        for i, page in enumerate(pages):
            memory[i, 8 * number : 8 * number + 8] += 1
            builder.page(0, page, memory[i].tobytes())
        builder.end_body()
    return builder.finish(END if finished else b"")


@pytest.mark.parametrize("mode", SyncMode)
@pytest.mark.parametrize(
    ("channels", "late_s", "pages"),
    [(1, 0.0, range(600)), (3, 0.3, range(600)), (4, 0.0, range(30, 60))],
    ids=["one", "late", "three of four idle"],
)
def test_ram_is_equal(scene: Scene, mode: SyncMode, channels: int, late_s: float, pages: range) -> None:
    destination, stream = scene.begin(mode, channels, late_s=late_s), stream_of(3, pages)
    scene.send(stream)
    scene.completed()
    expected = image(stream, before)
    carried = Carried(destination.main, destination.channels, mode)
    memory, tail = load(carried, before, "random", 1)
    assert np.array_equal(memory, expected.memory)
    assert tail == bytes(expected.tail)
    assert scene.statuses[-1].pages.compressed >= len(pages)
    assert [destination.syncs(number) > 0 for number in range(channels)] == [True] * channels


def phase(name: str) -> Callable[[Scene, FakeDestination], None]:
    """Bring a migration to a phase; the source has more to say."""

    def reach(scene: Scene, destination: FakeDestination) -> None:
        if name == "before the answer":
            scene.send(stream_of(1, range(0), finished=False))
            assert eventually(lambda: len(destination.sockets) == 3 and len(destination.main) > 60)
        else:
            scene.send(stream_of(1 + (name == "later"), range(300), finished=False))
            assert destination.answered.wait(3)
            assert eventually(lambda: len(destination.channels[0]) > 300_000)

    return reach


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", ["before the answer", "in RAM", "later"])
def test_a_channel_that_ends_ends_the_migration_at_once(scene: Scene, name: str, number: int) -> None:
    """The destination hangs for good; the source must not go on to its switchover."""
    destination = scene.begin(None if name == "before the answer" else ROUND)
    phase(name)(scene, destination)
    assert scene.error is None
    destination.close_channel(number)
    scene.failed_with(f"the destination closed multifd channel {number} before it had all of RAM")


@pytest.mark.parametrize("mode", SyncMode)
def test_channels_that_end_after_ram_are_no_error(scene: Scene, mode: SyncMode) -> None:
    destination = scene.begin(mode)
    destination.hold_verdict.clear()
    scene.send(stream_of(2, range(300)))
    assert eventually(lambda: destination.main.endswith(END))
    for number in (0, 1):
        destination.close_channel(number)
    time.sleep(0.3)
    destination.hold_verdict.set()
    scene.completed()


def test_a_channel_that_expects_tls_says_so(scene: Scene) -> None:
    destination = scene.begin(None)
    phase("before the answer")(scene, destination)
    destination.sockets[1].sendall(b"\x15\x03\x03\x00\x02\x02\x46")
    scene.failed_with("give --tls-dir")


def test_main_that_ends_in_ram_ends_the_channels_too(scene: Scene) -> None:
    destination = scene.begin(ROUND)
    phase("in RAM")(scene, destination)
    destination.sockets[0].shutdown(socket.SHUT_RDWR)
    scene.failed_with("the destination closed the link")


def test_a_destination_that_never_answers_is_given_up(scene: Scene) -> None:
    scene.begin(None, stall_timeout_s=0.5)
    scene.send(stream_of(1, range(0), finished=False))
    scene.failed_with("s and may hang for good: end that QEMU")


@pytest.mark.parametrize("expected", [1, 3])
def test_another_number_of_channels_than_the_destination_expects(scene: Scene, expected: int) -> None:
    """It has closed its listener, or waits for one more and reads nothing."""
    destination = scene.begin(None, expected=expected, stall_timeout_s=0.5)
    scene.send(stream_of(1, range(0), finished=False))
    if expected == 3:
        scene.failed_with("--channels must be its multifd-channels")
        assert len(destination.sockets) == 3
    else:
        scene.failed_with("")
        assert "destination" in str(scene.error) or "connect" in str(scene.error)


def test_a_source_that_ends_during_the_probe_ends_the_relay(scene: Scene) -> None:
    scene.begin(None, stall_timeout_s=0.5)
    scene.send(stream_of(1, range(0), finished=False))
    time.sleep(0.1)
    scene.source.close()
    assert scene.ended()
    assert scene.error is not None


def test_a_source_that_ends_in_ram_lets_the_channels_go(scene: Scene) -> None:
    destination = scene.begin(ROUND)
    phase("in RAM")(scene, destination)
    scene.source.shutdown(socket.SHUT_RDWR)
    assert scene.ended()
    assert "got its end" in str(scene.error)
    destination.sockets[1].settimeout(2)
    for thread in destination._threads[1:]:
        thread.join(2)
        assert not thread.is_alive(), "every socket of the destination has seen its end"


def test_aborting_during_the_probe_does_not_wait(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SILENCE_S", dict.fromkeys(probe.SILENCE_S, 60.0))
    destination = scene.begin(None)
    phase("before the answer")(scene, destination)
    assert scene.relay is not None
    scene.relay.abort(LinkError("enough"))
    scene.failed_with("enough")


def test_many_errors_at_once_end_it_once(scene: Scene) -> None:
    """A destination that dies closes all its sockets together, and each of them has a thread that sees it."""
    destination = scene.begin(None)
    phase("before the answer")(scene, destination)
    together, raised = threading.Barrier(8), list[Exception]()

    def abort(number: int) -> None:
        together.wait()
        try:
            assert scene.relay is not None
            scene.relay.abort(LinkError(f"error {number}"))
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=abort, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    scene.failed_with("error ")
    assert raised == []
    assert eventually(lambda: [destination.syncs(number) for number in (0, 1)] == [1, 1])
    time.sleep(0.1)
    assert [destination.syncs(number) for number in (0, 1)] == [1, 1], "two would be one too many"

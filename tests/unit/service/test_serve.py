"""The service as a process, with relays that are processes: what reaches whom, and what a fault costs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pagethrift.service.piping import reset
from pagethrift.stream.image import image
from pagethrift.stream.packets import PacketFlag
from pagethrift.stream.synthetic import StreamBuilder, handshake, packet
from tests.multifd import MAIN, random_migration
from tests.services import ServiceProcess, free_port
from tests.streams import before, random_stream

pytestmark = pytest.mark.slow
SYNC = packet(flags=PacketFlag.SYNC)
HERE = "127.0.0.1"
LONGER_THAN_SILENCE_S = 0.7


@dataclass
class Destination:
    """A listening socket that takes everything; ``received`` is each connection's bytes."""

    host: str = HERE
    port: int = 0
    received: list[bytearray] = field(default_factory=list)
    ended: list[threading.Event] = field(default_factory=list)

    def __enter__(self) -> Destination:
        self.listener = socket.create_server((self.host, self.port), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                data, ended = bytearray(), threading.Event()
                self.received.append(data)
                self.ended.append(ended)
                threading.Thread(target=self._read, args=(connection, data, ended), daemon=True).start()

    @staticmethod
    def _read(connection: socket.socket, data: bytearray, ended: threading.Event) -> None:
        with connection, contextlib.suppress(OSError):
            while piece := connection.recv(1 << 16):
                data += piece
        ended.set()

    def wait_for(self, connections: int) -> None:
        wait_until(lambda: len(self.received) >= connections)


@pytest.fixture
def destination() -> Iterator[Destination]:
    with Destination() as found:
        yield found


def wait_until(reached: object, timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    assert callable(reached)
    while not reached():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def pair(*destinations: Destination | str) -> list[str]:
    """Return the options for a pair for each destination, at any free port."""
    found = []
    for each in destinations:
        far = each if isinstance(each, str) else f"{each.host}:{each.port}"
        found += ["--pair", f"{HERE}:0={far}"]
    return found


def connect(service: ServiceProcess, data: bytes = b"", number: int = 0) -> socket.socket:
    port = int(service.addresses[number].rpartition(":")[2])
    found = socket.create_connection((HERE, port), 20)
    found.sendall(data)
    return found


def everything(connection: socket.socket) -> bytes:
    data = bytearray()
    while piece := connection.recv(1 << 16):
        data += piece
    return bytes(data)


def is_reset(connection: socket.socket) -> bool:
    try:
        everything(connection)
    except ConnectionError:
        return True
    return False


def is_closed(connection: socket.socket) -> bool:
    with contextlib.suppress(ConnectionError):
        everything(connection)
    return True


def flushed(builder: StreamBuilder) -> bytes:
    data = b"".join(bytes(part) for part in builder.parts)
    builder.parts.clear()
    return data


class Halfway:
    """A migration of which the source has written the first half."""

    def __init__(self, service: ServiceProcess, number: int = 0, seed: int = 1) -> None:
        stream = random_stream(seed)
        self.stream, self.half = stream, len(stream) // 2
        self.main = connect(service, stream[: self.half], number)

    def finish(self) -> None:
        self.main.sendall(self.stream[self.half :])
        self.main.shutdown(socket.SHUT_WR)

    def arrived(self, data: bytes | bytearray) -> bool:
        return bool((image(bytes(data), before).memory == image(self.stream, before).memory).all())


# what is no migration


def test_a_server_that_speaks_first_and_one_that_does_not() -> None:
    """A mail server's greeting, then a client-first one, each with both directions' ends kept apart."""
    with (
        socket.create_server((HERE, 0)) as mail,
        socket.create_server((HERE, 0)) as web,
        ServiceProcess(*pair(*(f"{HERE}:{each.getsockname()[1]}" for each in (mail, web)))) as service,
    ):
        client = connect(service)
        server, _ = mail.accept()
        server.sendall(b"220 mail.example ESMTP\r\n")
        assert client.recv(100) == b"220 mail.example ESMTP\r\n"
        client.sendall(b"QUIT\r\n")
        client.shutdown(socket.SHUT_WR)
        assert everything(server) == b"QUIT\r\n"
        server.sendall(b"221 bye\r\n")
        server.close()
        assert everything(client) == b"221 bye\r\n"
        event = service.wait_for("pipe")
        assert (event["out_bytes"], event["back_bytes"], event["error"]) == (6, 33, None)

        began_s = time.monotonic()
        client = connect(service, b"GET / HTTP/1.0\r\n\r\n", number=1)
        client.shutdown(socket.SHUT_WR)
        server, _ = web.accept()
        assert time.monotonic() - began_s < 0.25, "who speaks is not made to wait"
        assert everything(server) == b"GET / HTTP/1.0\r\n\r\n"
        server.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        server.close()
        assert everything(client) == b"HTTP/1.0 200 OK\r\n\r\n"


def test_a_source_that_speaks_tls_is_piped(destination: Destination) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01" + bytes(range(200))
    with ServiceProcess(*pair(destination)) as service:
        connect(service, hello).close()
        assert service.wait_for("pipe")["tls"] is True
        assert destination.received == [hello]


def test_who_looks_whether_a_port_is_open_does_not_reach_the_destination(destination: Destination) -> None:
    """To a QEMU it would be the one migration."""
    with ServiceProcess(*pair(destination)) as service:
        for _ in range(20):
            connect(service).close()
        time.sleep(LONGER_THAN_SILENCE_S)
        assert destination.received == []


def test_a_destination_that_does_not_listen_is_an_error_for_the_client() -> None:
    with ServiceProcess(*pair(f"{HERE}:{free_port()}")) as service:
        assert is_reset(connect(service, b"hello"))
        assert "is the destination listening?" in service.wait_for("refused")["reason"]


def test_without_silence_a_silent_client_reaches_nobody(destination: Destination) -> None:
    with ServiceProcess(*pair(destination), "--silence", "0") as service:
        silent = connect(service)
        time.sleep(LONGER_THAN_SILENCE_S)
        assert destination.received == []
        silent.sendall(b"hello")
        destination.wait_for(1)
        silent.close()


def test_too_many_of_one_host(destination: Destination) -> None:
    with ServiceProcess(*pair(destination), "--per-host", "3") as service:
        kept = [connect(service, b"hello") for _ in range(3)]
        destination.wait_for(3)
        assert is_reset(connect(service, b"hello"))
        assert "too many connections" in service.wait_for("refused")["reason"]
        kept[0].close()
        service.wait_for("pipe")
        with connect(service, b"hello"):
            destination.wait_for(4)


# migrations


def test_a_migration_gets_a_process_and_is_thinned(destination: Destination) -> None:
    with ServiceProcess(*pair(destination)) as service:
        source = Halfway(service)
        pid = service.wait_for("relay")["pid"]
        assert pid not in (service.process.pid, os.getpid())
        source.finish()
        (end,) = service.wait_for_ends(1)
        assert end["error"] is None
        assert end["in_bytes"] == len(source.stream)
        assert end["out_bytes"] == len(destination.received[0]) < end["in_bytes"]
        assert end["id"] == service.wait_for("begin")["id"]
        assert (end["peer"], end["destination"]) == (HERE, f"{HERE}:{destination.port}")
        assert source.arrived(destination.received[0])
        assert len(destination.received) == 1
        assert [line for line in service.said if end["id"] in line and "done; in " in line]
        wait_until(lambda: not Path(f"/proc/{pid}").exists())


def test_a_source_that_is_slow_to_speak_keeps_the_destinations_one_connection(
    destination: Destination,
) -> None:
    with ServiceProcess(*pair(destination)) as service:
        source = connect(service)
        destination.wait_for(1)  # taken for a protocol in which the server speaks first
        stream = random_stream(3)
        source.sendall(stream)
        source.shutdown(socket.SHUT_WR)
        (end,) = service.wait_for_ends(1)
        assert end["error"] is None
        assert len(destination.received) == 1, "QEMU takes one connection"
        assert (image(bytes(destination.received[0]), before).memory == image(stream, before).memory).all()


@pytest.mark.parametrize("seed", range(4))
def test_multifd_channels_find_their_main_connection(destination: Destination, seed: int) -> None:
    """In whatever order QEMU connects."""
    it = random_migration(seed, steps=40)
    with ServiceProcess(*pair(destination)) as service:
        sockets: dict[int, socket.socket] = {}
        for to, data in it.script:
            if to not in sockets:
                sockets[to] = connect(service)
            sockets[to].sendall(data)
        sockets[MAIN].shutdown(socket.SHUT_WR)
        (end,) = service.wait_for_ends(1)
        assert end["error"] is None
        assert end["in_bytes"] == sum(len(data) for _, data in it.script)
        assert len(destination.received) == 1
        assert (image(bytes(destination.received[0]), before).memory == image(it.plain, before).memory).all()


@pytest.mark.parametrize("silent", ["main", "channel", "both"])
def test_channels_of_a_slow_source(destination: Destination, silent: str) -> None:
    """Whichever of its connections the destination was connected for: it gets one, and that is main's."""
    with ServiceProcess(*pair(destination)) as service:
        channel = connect(service, b"" if silent in ("channel", "both") else handshake(0) + SYNC)
        main = connect(service)
        time.sleep(LONGER_THAN_SILENCE_S)
        if silent in ("channel", "both"):
            channel.sendall(handshake(0) + SYNC)
        time.sleep(LONGER_THAN_SILENCE_S if silent == "both" else 0)
        builder, plain = StreamBuilder(flush=True), StreamBuilder()
        main.sendall(flushed(builder))
        content = bytes(range(256)) * 16
        channel.sendall(packet("pc.ram", [(2, content)]) + SYNC)
        for each in (builder, plain):
            each.begin_body(last=True)
        builder.flush()
        builder.end_body()
        plain.page(0, 2, content)
        plain.end_body()
        main.sendall(flushed(builder) + b"\x04tail")
        main.shutdown(socket.SHUT_WR)
        (end,) = service.wait_for_ends(1)
        assert end["error"] is None
        carried = [bytes(data) for data in destination.received if data]
        assert len(carried) == 1
        assert destination.received[0] == carried[0], "the destination takes who connects first"
        stream = plain.finish(b"\x04tail")
        assert (image(carried[0], before).memory == image(stream, before).memory).all()


def test_many_channels_come_while_the_relay_starts(destination: Destination) -> None:
    with ServiceProcess(*pair(destination)) as service:
        main = connect(service, flushed(StreamBuilder([("pc.ram", 64)]))[:20])
        channels = [connect(service, handshake(i) + SYNC) for i in range(64)]
        service.wait_for("relay")
        builder = StreamBuilder([("pc.ram", 64)], flush=True)
        content = bytes(range(256)) * 16
        main.sendall(flushed(builder)[20:])
        for i, channel in enumerate(channels):
            channel.sendall(packet("pc.ram", [(i, content)]) + SYNC)
        builder.begin_body(last=True)
        builder.flush()
        builder.end_body()
        main.sendall(flushed(builder) + b"\x04tail")
        main.shutdown(socket.SHUT_WR)
        (end,) = service.wait_for_ends(1)
        assert end["error"] is None
        assert end["refused"] == 0
        assert (image(bytes(destination.received[0]), before).memory.reshape(64, -1) == list(content)).all()


def test_the_same_source_migrates_again_at_once() -> None:
    """The channels of the second attempt come before its main connection, and are not the first one's."""
    with (
        socket.create_server((HERE, 0)) as listener,
        ServiceProcess(*pair(f"{HERE}:{listener.getsockname()[1]}")) as service,
    ):
        first = Halfway(service)
        far, _ = listener.accept()
        wait_until(lambda: far.recv(1) != b"")
        reset(far)  # the destination fails
        assert is_closed(first.main)
        channel = connect(service, handshake(0) + SYNC)
        builder = StreamBuilder(flush=True)
        main = connect(service, flushed(builder))
        far, _ = listener.accept()
        far.settimeout(20)
        channel.sendall(SYNC)
        builder.begin_body(last=True)
        builder.flush()
        builder.end_body()
        main.sendall(flushed(builder) + b"\x04tail")
        main.shutdown(socket.SHUT_WR)
        assert everything(far).endswith(b"\x04tail")
        far.close()
        one, two = service.wait_for_ends(2)
        assert one["error"]["kind"] == "link"
        assert two["error"] is None


def test_a_migration_waits_for_its_turn() -> None:
    with (
        Destination() as one,
        Destination() as two,
        ServiceProcess(*pair(one, two), "--most", "1") as service,
    ):
        first = Halfway(service, 0)
        service.wait_for("begin")
        second = Halfway(service, 1, seed=2)
        assert "1 run, of at most 1" in service.wait_for("waiting")["reason"]
        gone = Halfway(service, 1, seed=4)
        gone.main.close()
        assert "the source has gone" in service.wait_for("refused")["reason"]
        time.sleep(0.3)
        assert two.received == []
        first.finish()
        service.wait_for_all("begin", 2)
        second.finish()
        ends = service.wait_for_ends(2)
        assert [end["error"] for end in ends] == [None, None]
        assert second.arrived(two.received[0])


def test_a_second_migration_to_one_destination_waits(destination: Destination) -> None:
    """It could not be taken; and it may be the service's own connection, sent back by a nat rule."""
    with ServiceProcess(*pair(destination, destination)) as service:
        first = Halfway(service, 0)
        service.wait_for("begin")
        second = Halfway(service, 1)
        assert "runs already" in service.wait_for("waiting")["reason"]
        first.finish()
        service.wait_for_all("begin", 2)
        second.finish()
        assert service.wait_for_ends(2)[1]["error"] is None


def test_a_killed_relay_costs_nobody_else_anything() -> None:
    with (
        Destination() as one,
        Destination() as two,
        Destination() as three,
        ServiceProcess(*pair(one, two, three)) as service,
    ):
        sources = [Halfway(service, n, seed=n) for n in range(3)]
        for each in (one, two, three):
            each.wait_for(1)
        pipe = connect(service, b"hello", 2)
        wait_until(lambda: b"hello" in three.received)
        victim = service.wait_for("begin", destination=f"{HERE}:{two.port}")["id"]
        os.kill(service.wait_for("relay", id=victim)["pid"], signal.SIGKILL)
        end = service.wait_for("end")
        assert end["id"] == victim
        assert "SIGKILL" in end["error"]["message"]
        assert is_closed(sources[1].main), "its source learns of it"
        for number in (0, 2):
            sources[number].finish()
        ends = service.wait_for_ends(3)
        assert [each["error"] for each in ends[1:]] == [None, None]
        assert sources[0].arrived(one.received[0])
        assert sources[2].arrived(three.received[0])
        pipe.sendall(b" again")
        wait_until(lambda: b"hello again" in three.received)


# the end


def test_told_to_end_it_lets_migrations_finish(destination: Destination) -> None:
    with ServiceProcess(*pair(destination)) as service:
        source = Halfway(service)
        pipe = connect(service, b"hello")
        service.process.send_signal(signal.SIGHUP)
        destination.wait_for(2)
        service.terminate()
        service.wait_for("draining", migrations=1)
        wait_until(lambda: refused_or_closed(service))
        assert service.process.poll() is None
        source.finish()
        assert service.wait() == 0
        (end,) = service.all("end")
        assert end["error"] is None
        (carried,) = [data for data in destination.received if data != b"hello"]
        assert source.arrived(carried)
        assert is_closed(pipe)


def refused_or_closed(service: ServiceProcess) -> bool:
    try:
        return is_reset(connect(service))
    except OSError:
        return True


def test_channels_still_come_in_while_it_ends(destination: Destination) -> None:
    """Told to end between a source's main connection and its channels."""
    with ServiceProcess(*pair(destination)) as service:
        builder = StreamBuilder(flush=True)
        head = flushed(builder)
        main = connect(service, head[:20])
        service.wait_for("relay")
        service.terminate()
        service.wait_for("draining")
        channel = connect(service, handshake(0) + SYNC)
        main.sendall(head[20:])
        channel.sendall(SYNC)
        builder.begin_body(last=True)
        builder.flush()
        builder.end_body()
        main.sendall(flushed(builder) + b"\x04tail")
        main.shutdown(socket.SHUT_WR)
        assert service.wait() == 0
        (end,) = service.all("end")
        assert end["error"] is None
        assert end["refused"] == 0


def test_told_twice_it_ends_at_once(destination: Destination) -> None:
    with ServiceProcess(*pair(destination)) as service:
        source = Halfway(service)
        destination.wait_for(1)
        service.terminate()
        service.wait_for("draining")
        service.terminate()
        assert service.wait(10) == 0
        (end,) = service.all("end")
        assert "the source's guest runs on" in end["error"]["message"]
        assert is_closed(source.main)


def test_a_drain_has_an_end(destination: Destination) -> None:
    with ServiceProcess(*pair(destination), "--drain", "200ms") as service:
        Halfway(service)
        destination.wait_for(1)
        service.terminate()
        assert service.wait(15) == 0


def test_relays_end_with_a_killed_service(destination: Destination) -> None:
    with ServiceProcess(*pair(destination)) as service:
        source = Halfway(service)
        destination.wait_for(1)
        pid = service.wait_for("relay")["pid"]
        service.process.kill()
        assert is_closed(source.main)
        wait_until(lambda: not running(pid))


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_map_leads_to_the_same_host_and_port() -> None:
    port = free_port("127.78.0.5")
    with (
        Destination("127.78.0.5", port) as far,
        ServiceProcess("--map", f"127.77.0.5:{port}=127.78.0.5") as service,
    ):
        with socket.create_connection(("127.77.0.5", port), 5) as client:
            client.sendall(b"hello")
        service.wait_for("pipe")
        assert far.received == [b"hello"]


def test_unix_sockets_at_both_ends(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "far"))
        listener.listen()
        with ServiceProcess("--pair", f"unix:{folder}/near=unix:{folder}/far") as service:
            assert service.addresses == [f"unix:{folder}/near"]
            stream = random_stream(5)
            with socket.socket(socket.AF_UNIX) as source:
                source.connect(str(folder / "near"))
                far_thread: list[bytes] = []
                reader = threading.Thread(target=lambda: far_thread.append(everything(listener.accept()[0])))
                reader.start()
                source.sendall(stream)
                source.shutdown(socket.SHUT_WR)
                (end,) = service.wait_for_ends(1)
                reader.join(5)
            assert end["error"] is None
            assert end["peer"].startswith("user ")
            assert (image(far_thread[0], before).memory == image(stream, before).memory).all()
            service.terminate()
            assert service.wait() == 0
        assert not (folder / "near").exists()


def test_a_flood_of_silent_clients_costs_no_processor_time(destination: Destination) -> None:
    with ServiceProcess(*pair(destination)) as service:
        kept = [connect(service) for _ in range(50)]
        destination.wait_for(50)
        before_s = cpu_s(service.process.pid)
        time.sleep(1.0)
        assert cpu_s(service.process.pid) - before_s < 0.2
        for each in kept:
            each.close()


def test_after_a_migration_the_service_is_quiet(destination: Destination) -> None:
    """A descriptor that lives on in a relay would wake it without an end."""
    with ServiceProcess(*pair(destination)) as service:
        Halfway(service)
        destination.wait_for(1)
        wait_until(lambda: len(destination.received[0]) > 0)
        time.sleep(0.5)
        before_s = cpu_s(service.process.pid)
        time.sleep(1.0)
        assert cpu_s(service.process.pid) - before_s < 0.2


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

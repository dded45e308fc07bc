"""The service as a process, with relays that are processes: what reaches whom, and what a fault costs."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from pagethrift.sockets import break_on_close
from pagethrift.stream.image import image
from pagethrift.stream.synthetic import StreamBuilder, handshake, packet
from tests.multifd import MAIN, random_migration
from tests.services import ServiceProcess
from tests.streams import before, random_stream
from tests.unit.service.scenes import (
    HERE,
    LONGER_THAN_SILENCE_S,
    SYNC,
    Destination,
    Halfway,
    connect,
    everything,
    flushed,
    is_closed,
    is_reset,
    pair,
    wait_until,
)

pytestmark = pytest.mark.slow


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
        # what stands in a channel behind main's last mark need not be read once main has ended
        given = sum(len(data) for _, data in it.script)
        assert 0.99 * given <= end["in_bytes"] <= given
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
        break_on_close(far)
        far.close()  # the destination fails
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
        assert is_reset(sources[1].main), "its source learns of it"
        for number in (0, 2):
            sources[number].finish()
        ends = service.wait_for_ends(3)
        assert [each["error"] for each in ends[1:]] == [None, None]
        assert everything(sources[0].main) == b"", "an orderly end"
        assert sources[0].arrived(one.received[0])
        assert sources[2].arrived(three.received[0])
        pipe.sendall(b" again")
        wait_until(lambda: b"hello again" in three.received)

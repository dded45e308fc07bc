"""The service's end, its ways from end to end, and that it is quiet while nothing happens."""

from __future__ import annotations

import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from pagethrift.stream.image import image
from pagethrift.stream.synthetic import StreamBuilder, handshake
from tests.services import ServiceProcess, free_port
from tests.streams import before, random_stream
from tests.unit.service.scenes import (
    SYNC,
    Destination,
    Halfway,
    connect,
    cpu_s,
    everything,
    flushed,
    is_closed,
    is_reset,
    pair,
    wait_until,
)

pytestmark = pytest.mark.slow


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
        assert is_reset(source.main)


def test_a_drain_has_an_end(destination: Destination) -> None:
    with ServiceProcess(*pair(destination), "--drain", "200ms") as service:
        source = Halfway(service)
        destination.wait_for(1)
        service.terminate()
        assert service.wait(15) == 0
        assert is_reset(source.main)


def test_relays_end_with_a_killed_service(destination: Destination) -> None:
    with ServiceProcess(*pair(destination)) as service:
        source = Halfway(service)
        destination.wait_for(1)
        pid = service.wait_for("relay")["pid"]
        service.process.kill()
        assert is_reset(source.main)
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
        source = Halfway(service)
        destination.wait_for(1)
        wait_until(lambda: len(destination.received[0]) > 0)
        time.sleep(0.5)
        before_s = cpu_s(service.process.pid)
        time.sleep(1.0)
        assert cpu_s(service.process.pid) - before_s < 0.2
        source.finish()
        assert service.wait_for_ends(1)[0]["error"] is None

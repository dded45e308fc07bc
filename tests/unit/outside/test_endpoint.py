"""The endpoint: a scrape is answered, a busy address refused, and a hostile scraper bounded."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator

import pytest

from pagethrift.address import Address, parse_address
from pagethrift.errors import LinkError, UsageError
from pagethrift.model.running import Running
from pagethrift.outside import endpoint as module
from pagethrift.outside.endpoint import AT_ONCE, Endpoint


@contextlib.contextmanager
def served(running: Iterable[Running] = (Running("one", in_bytes=7),)) -> Iterator[Endpoint]:
    endpoint = Endpoint(parse_address("127.0.0.1:0", listening=True), lambda: running)
    try:
        yield endpoint
    finally:
        endpoint.close()


def get(endpoint: Endpoint, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}{path}", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        text: str = answer.read().decode()
        return text


def connected(endpoint: Endpoint) -> socket.socket:
    return socket.create_connection(("127.0.0.1", endpoint.port), timeout=10)


def test_a_scrape() -> None:
    with served() as endpoint:
        assert 'pagethrift_received_bytes_total{migration="one"} 7.0' in get(endpoint)
        for path in ("/", "/metrics/x", "/favicon.ico"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                get(endpoint, path)
        assert "pagethrift" in get(endpoint, "/metrics?x=1")


def test_who_answers_does_not_say_with_what() -> None:
    with served() as endpoint, connected(endpoint) as scraper:
        scraper.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        head = scraper.recv(65536)
        assert b"Server: pagethrift\r\n" in head


def test_a_busy_address_is_refused_in_one_line() -> None:
    busy = r"^cannot listen on 127\.0\.0\.1:\d+.*another address"
    with served() as endpoint, pytest.raises(LinkError, match=busy):
        Endpoint(Address(host="127.0.0.1", port=endpoint.port), list)
    with pytest.raises(UsageError, match="Prometheus scrapes HOST:PORT"):
        Endpoint(Address(path="/run/x"), list)


def test_scrapers_that_say_nothing_hold_few_threads_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_S", 1.0)
    monkeypatch.setattr(module._Handler, "timeout", 1.0)
    with served() as endpoint:
        before = threading.active_count()
        silent = [connected(endpoint) for _ in range(30)]
        time.sleep(0.3)
        assert threading.active_count() <= before + AT_ONCE
        deadline_s = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError, urllib.error.URLError):
                assert "pagethrift" in get(endpoint)
                break
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        for each in silent:
            each.close()


@pytest.mark.slow
def test_a_request_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte is in time, so only the whole tells."""
    monkeypatch.setattr(module, "LONGEST_S", 0.5)
    with served() as endpoint, connected(endpoint) as slow:
        began_s = time.monotonic()
        slow.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        with contextlib.suppress(OSError):
            while time.monotonic() - began_s < 10:
                slow.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - began_s < 5


def test_anything_may_come_and_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    with served() as endpoint:
        for junk in (b"\x16\x03\x01\x02", b"\r\n" * 100, b"POST / HTTP/1.1\r\n\r\n", b"GET " + b"/" * 70_000,
                     b"GET /metrics HTTP/9.9\r\n\r\n"):  # fmt: skip
            with connected(endpoint) as scraper, contextlib.suppress(OSError):
                scraper.sendall(junk)
        assert "pagethrift" in get(endpoint)
    assert capfd.readouterr() == ("", "")


def test_a_status_that_cannot_be_read_fails_that_scrape_alone() -> None:
    class Broken:
        calls = 0

        def __iter__(self) -> Iterator[Running]:
            self.calls += 1
            if self.calls == 1:
                raise ZeroDivisionError
            return iter([Running("one")])

    with served(Broken()) as endpoint:
        with pytest.raises((urllib.error.URLError, OSError)):
            get(endpoint)
        assert "pagethrift" in get(endpoint)


def test_the_address_is_free_again_at_once() -> None:
    with served() as endpoint, connected(endpoint):
        port = endpoint.port
    again = Endpoint(Address(host="127.0.0.1", port=port), list)
    again.close()

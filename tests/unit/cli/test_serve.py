"""``pagethrift relay --serve`` as operators type it: what it refuses, and what its relays are told."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from pagethrift.address import Address
from pagethrift.cli import serve as command
from pagethrift.errors import LinkError, UsageError
from tests.services import ServiceProcess

PAIR = ("--pair", "127.0.0.1:0=127.0.0.1:1")


def serve(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pagethrift", "relay", "--serve", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, **more)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give at least one --pair, --map or --redirect"),
        (("--pair", "nowhere"), "write LISTEN=CONNECT"),
        (("--map", "nowhere"), "write NETWORK:PORTS=NETWORK"),
        ((*PAIR, "--most", "0"), "choose 1 to 1000"),
        ((*PAIR, "--memory", "4MiB"), "give at least 8MiB"),
        ((*PAIR, "--per-host", "0"), "at least 1"),
        ((*PAIR, "--silence", "soon"), "'soon' is not a duration"),
        ((*PAIR, "--drain", "5"), "give a unit"),
        ((*PAIR, "--strategy", "nobodys"), "nobodys"),
        ((*PAIR, "--bandwidth", "much"), "'much' is not a bandwidth"),
        ((*PAIR, "--compress", "on"), "give --channels"),
        ((*PAIR, "--channels", "99"), "choose 1 to 16"),
        ((*PAIR, "--tls-hostname", "host2"), "give --tls-dir too"),
        ((*PAIR, "--tls-dir", "/nowhere"), "no ca-cert.pem in it"),
        ((*PAIR, "--listen", "127.0.0.1:0"), "No such option"),
    ],
)
def test_what_cannot_be_done_is_said_before_anybody_connects(arguments: tuple[str, ...], words: str) -> None:
    done = serve(*arguments)
    assert done.returncode == UsageError.exit_code
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_address_that_cannot_be_had() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        done = serve("--pair", f"127.0.0.1:{busy.getsockname()[1]}=127.0.0.1:1")
    assert done.returncode == LinkError.exit_code
    assert "choose another address" in done.stderr


def test_descriptors_that_are_not_to_be_had() -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    done = serve(*PAIR, preexec_fn=few)
    assert done.returncode == UsageError.exit_code
    assert "LimitNOFILE" in done.stderr


def test_help_has_an_example_and_the_limits() -> None:
    done = serve("--help")
    assert done.returncode == 0
    assert "Example: pagethrift relay --serve" in " ".join(done.stdout.split())
    assert "--most" in done.stdout
    relay = subprocess.run(
        [sys.executable, "-m", "pagethrift", "relay", "--help"], capture_output=True, text=True, check=True
    )
    assert "relay --serve" in relay.stdout


def test_listening_is_told_to_people_programs_and_the_supervisor(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(folder / "notify"))
        heard.settimeout(20)
        environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify")}
        with ServiceProcess(*PAIR, env=environment) as service:
            assert heard.recv(100).startswith(b"READY=1")
            assert service.said == [f"pagethrift: listening on {service.addresses[0]}"]
            service.terminate()
            assert heard.recv(100).startswith(b"STOPPING=1")
            assert service.wait() == 0
        assert json.dumps(service.events)


def test_a_relay_is_told_what_the_service_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []

    class Noted:
        def __init__(self, ways: object, relay_argv: object, *rest: object, **more: object) -> None:
            assert callable(relay_argv)
            told.append(relay_argv(Address(host="host2", port=4444)))

        async def run(self) -> None:
            pass

        def stop(self) -> None:
            pass

    monkeypatch.setattr(command, "Service", Noted)
    app = typer.main.get_command(command.app)
    options = (
        "--strategy thesis --downtime-limit 100ms --bandwidth 1Gbit --stall-timeout 9s --most 4 --memory 1GiB"
    )
    with app.make_context("serve", [*PAIR, *options.split()]) as context:
        app.invoke(context)
    (argv,) = told
    text = " ".join(argv)
    assert "relay --json --connect host2:4444" in text
    for each in ("--strategy thesis", "--downtime-limit 100ms", "--bandwidth 1Gbit", "--stall-timeout 9s"):
        assert each in text
    assert f"--hold {256 << 20}B" in text
    assert "--channels 0" in text

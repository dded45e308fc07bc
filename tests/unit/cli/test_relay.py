"""``pagethrift relay --json`` as a program starts it: its last word, and that it hears its input end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pagethrift.errors import LinkError, PagethriftError, UsageError
from pagethrift.model.error_data import from_data
from pagethrift.model.relay_protocol import RelayEnd, RelayState, RelayStatus, decode_message

WAIT_S = 60
"""kernels may have to be compiled"""


@contextmanager
def relay(folder: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-m", "pagethrift", "relay", "--json", "--listen", f"unix:{folder}/relay.sock"]
    argv += ["--connect", f"unix:{folder}/nobody.sock", *more]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def listening(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    first = decode_message(process.stdout.readline())
    assert isinstance(first, RelayStatus)
    assert first.state is RelayState.LISTENING
    assert first.peak_rss_bytes > 1 << 20


def last_word(process: subprocess.Popen[bytes]) -> PagethriftError:
    assert process.stdout is not None
    *_, last = process.stdout.read().splitlines()
    end = decode_message(last)
    assert isinstance(end, RelayEnd)
    assert end.error is not None
    process.wait(WAIT_S)
    return from_data(end.error)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--strategy", "nobodys"], "nobodys"),
        (["--bandwidth", "much"], "'much' is not a bandwidth"),
        (["--connect", "nowhere"], "is not an address"),
        (["--tls-dir", "/nowhere", "--tls-hostname", "host2"], "no ca-cert.pem in it; it must hold"),
        (["--tls-dir", "/nowhere"], "give --tls-hostname too"),
        (["--tls-hostname", "host2"], "give --tls-dir too"),
    ],
)
def test_what_cannot_be_done_is_said_as_data_and_in_words(
    folder: Path, more: list[str], message: str
) -> None:
    with relay(folder, *more) as process:
        error = last_word(process)
        assert type(error) is UsageError
        assert message in str(error)
        assert process.returncode == UsageError.exit_code
        assert process.stderr is not None
        assert process.stderr.read().decode() == f"pagethrift: {error}\n"


def test_an_address_that_cannot_be_had(folder: Path) -> None:
    with relay(folder, "--listen", f"unix:{folder}/no/such/folder") as process:
        error = last_word(process)
        assert type(error) is LinkError
        assert "cannot listen on" in str(error)
        assert process.returncode == LinkError.exit_code


def test_hears_its_input_end_after_anything_that_came_before(folder: Path) -> None:
    with relay(folder) as process:
        listening(process)
        assert process.stdin is not None
        for line in (b'{"round": 1e400}', b'{"round": "x"}', b"[" * 5000, b"\xff", b"9" * 5000, b"", b"null"):
            process.stdin.write(line + b"\n")
        process.stdin.write(b'{"round": ' + b"9" * 5000 + b"}\n" + b"x" * (1 << 20) + b'\n{"status": true}\n')
        process.stdin.flush()
        assert process.stdout is not None
        assert isinstance(decode_message(process.stdout.readline()), RelayStatus)
        process.stdin.write(b"y" * 100_000)
        process.stdin.close()
        error = last_word(process)
        assert type(error) is LinkError
        assert "started this relay is gone" in str(error)
        assert process.stderr is not None
        said = process.stderr.read().decode().splitlines()
        assert [line for line in said if "ignored command" not in line] == [f"pagethrift: {error}"]
        assert process.returncode == LinkError.exit_code


def test_hears_its_input_end_although_nobody_reads_what_it_says(folder: Path) -> None:
    with relay(folder) as process:
        listening(process)
        assert process.stdin is not None
        process.stdin.write(b'{"status": true}\n' * 2000)
        process.stdin.close()
        assert process.wait(WAIT_S) == LinkError.exit_code


def test_interrupted(folder: Path) -> None:
    with relay(folder) as process:
        listening(process)
        process.send_signal(signal.SIGTERM)
        assert "interrupted" in str(last_word(process))
        assert process.returncode == 130


def test_a_line_is_an_object_with_type_and_version(folder: Path) -> None:
    with relay(folder) as process:
        assert process.stdout is not None
        data = json.loads(process.stdout.readline())
        assert (data["type"], data["protocol"], data["state"]) == ("status", 1, "listening")


def test_a_relay_without_tls_does_not_load_openssl() -> None:
    program = "import sys, pagethrift.cli.relay, pagethrift.relay.connecting; print('_ssl' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

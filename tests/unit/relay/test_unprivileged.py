"""The relay needs no privilege: as user nobody, in a folder of its own, it forwards a whole migration."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pagethrift.address import Address
from pagethrift.sockets import listen
from pagethrift.stream.image import image
from tests.streams import before
from tests.unit.relay.test_session_faults import stream_of

NOBODY = 65534
AS_NOBODY = [
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs",
    # the interpreter may be in a folder that only root can read; nothing else may be read so, or written
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search",
    "--bounding-set=-all,+dac_read_search",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="NOT CHECKED: no setpriv on this machine")
@pytest.mark.skipif(os.geteuid() != 0, reason="NOT CHECKED: only root can start a relay as user nobody")
def test_a_relay_of_user_nobody_works(folder: Path) -> None:
    own = folder / "own"
    own.mkdir()
    for each in (folder, own):
        os.chown(each, NOBODY, NOBODY)
    near, stream = own / "near", stream_of(200)
    with listen(Address(path=str(folder / "far"))) as listener:
        (folder / "far").chmod(0o666)
        relay = subprocess.Popen(
            [
                *AS_NOBODY, sys.executable, "-m", "pagethrift", "relay",
                "--listen", f"unix:{near}", "--connect", f"unix:{folder / 'far'}",
            ],
            cwd="/", stderr=subprocess.PIPE, text=True,
            env={**os.environ, "HOME": str(own), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
        try:
            deadline_s = time.monotonic() + 120
            while not near.is_socket():
                if relay.poll() is not None:
                    assert relay.stderr is not None
                    pytest.fail(relay.stderr.read())
                assert time.monotonic() < deadline_s, "the relay does not listen"
                time.sleep(0.05)
            assert Path(f"/proc/{relay.pid}").stat().st_uid == NOBODY
            source = socket.socket(socket.AF_UNIX)
            source.connect(str(near))
            source.sendall(stream[:1000])
            destination, _ = listener.accept()
            destination.settimeout(30)
            os.set_blocking(source.fileno(), True)
            received = bytearray()
            sent = 1000
            while sent < len(stream):
                sent += source.send(stream[sent : sent + 65536])
                received += destination.recv(1 << 16) if sent > 400_000 else b""
            source.shutdown(socket.SHUT_WR)
            while data := destination.recv(1 << 16):
                received += data
            destination.close()
            assert relay.wait(20) == 0
        finally:
            relay.kill()
            relay.wait()
    assert (image(bytes(received), before).memory == image(stream, before).memory).all()
    assert not near.exists()

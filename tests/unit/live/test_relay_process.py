"""The relay as a process: what the driver hears of it, however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pagethrift.errors import LinkError, QmpError, StreamError, UsageError
from pagethrift.live.relay_process import RelayFolder, RelayProcess, relay_command
from pagethrift.model.relay_protocol import RelayState, RelayStatus


def script(body: str) -> list[str]:
    """Return the argv of a fake relay that has said it listens."""
    head = """
        import json, os, sys, time
        def say(**status):
            print(json.dumps(status), flush=True)
        say(state="listening")
    """
    return [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(body)]


def test_command_line() -> None:
    argv = relay_command("unix:/a", "host:1", "thesis", {"threshold": 0.75}, 12_500_000)
    assert argv[1:5] == ["-m", "pagethrift", "relay", "--listen"]
    assert argv[argv.index("--param") + 1] == "threshold=0.75"
    assert argv[argv.index("--bandwidth") + 1] == "12500000B/s"
    assert argv[-1] == "--json"
    limited = relay_command("unix:/a", "host:1", "hu", {}, None, 0.25)
    assert limited[limited.index("--downtime-limit") + 1] == "0.250000s"
    assert "--bandwidth" not in limited


def test_hears_states_and_is_told_rounds_and_go() -> None:
    body = """
        lines = [json.loads(sys.stdin.readline()) for _ in range(2)]
        say(state="ram", pages_in=lines[0]["round"], novelty=1)
        say(state="done", warning=str(lines[1]["go"]))
    """

    async def run() -> None:
        heard: list[RelayStatus] = []
        relay = await RelayProcess.start(script(body), heard.append)
        assert relay.status.state is RelayState.LISTENING
        relay.tell_round(3)
        relay.tell_go()
        assert await relay.wait_done()
        assert [status.state for status in heard] == [RelayState.LISTENING, RelayState.RAM, RelayState.DONE]
        assert heard[1].pages_in == 3
        assert heard[2].warning == "True"
        assert relay.ended
        assert not relay.failed
        await relay.close()

    asyncio.run(run())


def test_says_how_it_is_now_when_asked() -> None:
    body = """
        say(state="ram", pages_in=1, now_s=time.monotonic())
        assert json.loads(sys.stdin.readline()) == {"status": True}
        say(state="ram", pages_in=2, now_s=0.0)  # said before the question came
        say(state="ram", pages_in=3, now_s=time.monotonic())
        sys.stdin.readline()
        sys.stdin.readline()
    """

    async def run() -> None:
        relay = await RelayProcess.start(script(body), lambda _: None)
        await relay.refresh()
        assert relay.status.pages_in == 3
        began_s = time.monotonic()
        await relay.refresh()  # it is silent now
        assert time.monotonic() - began_s < 5
        assert relay.status.pages_in == 3
        await relay.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (
            'say(state="failed", error="link is down"); sys.exit(4)',
            LinkError,
            "relay: link is down",
        ),
        (
            'say(state="failed", error="stream byte 12: expected x, got 0x55"); sys.exit(3)',
            StreamError,
            "stream byte 12: expected x, got 0x55",
        ),
        ('sys.stderr.write("first\\nlast words\\n"); sys.exit(5)', QmpError, "relay: last words"),
        ("os.kill(os.getpid(), 9)", LinkError, "ended by SIGKILL"),
        ("sys.exit(1)", LinkError, "ended with exit code 1"),
        ('print("{broken", flush=True); time.sleep(0.1)', LinkError, "not a relay status"),
    ],
)
def test_ends_badly(body: str, kind: type[Exception], message: str) -> None:
    async def run() -> None:
        relay = await RelayProcess.start(script(f"sys.stdin.readline(); {body}"), lambda _: None)
        relay.tell_go()
        while not relay.failed:
            await asyncio.sleep(0.01)
        error = await relay.failure()
        assert type(error) is kind
        assert message in str(error)
        assert "\n" not in str(error)
        await relay.close()

    asyncio.run(run())


def test_does_not_start() -> None:
    async def run() -> None:
        argv = [sys.executable, "-c", "import sys; sys.stderr.write('no such strategy\\n'); sys.exit(2)"]
        with pytest.raises(UsageError, match="no such strategy"):
            await RelayProcess.start(argv, lambda _: None)

    asyncio.run(run())


def test_never_listens() -> None:
    async def run() -> None:
        argv = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        with pytest.raises(LinkError, match=r"not ready within 0\.2 s"):
            await RelayProcess.start(argv, lambda _: None, timeout_s=0.2)

    asyncio.run(run())


def test_close_ends_one_that_ignores_everything() -> None:
    body = """
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        say(state="ram")
        time.sleep(60)
    """

    async def run() -> None:
        relay = await RelayProcess.start(script(body), lambda _: None)
        while relay.status.state is not RelayState.RAM:
            await asyncio.sleep(0.01)
        await relay.close(patience_s=0.1)
        assert relay.failed

    asyncio.run(run())


PARENT = """
import asyncio, sys
from pagethrift.live.relay_process import RelayProcess

async def run():
    await RelayProcess.start([sys.executable, "-c", sys.argv[1], sys.argv[2]], lambda _: None)
    await asyncio.sleep(60)

asyncio.run(run())
"""
CHILD = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
print('{"state": "listening"}', flush=True)
time.sleep(60)
"""


def test_dies_with_its_parent(tmp_path: Path) -> None:
    async def run() -> int:
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PARENT, CHILD, str(tmp_path / "pid")
        )
        for _ in range(500):
            await asyncio.sleep(0.02)
            if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
                break
        parent.kill()
        await parent.wait()
        return int((tmp_path / "pid").read_text())

    relay = asyncio.run(run())
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        try:
            os.kill(relay, 0)
            if Path(f"/proc/{relay}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.02)
    os.kill(relay, signal.SIGKILL)
    pytest.fail("the relay outlived its parent")


def test_folder_is_private_and_removed(tmp_path: Path) -> None:
    folder = RelayFolder(tmp_path, -1, -1)
    path = Path(folder.address.removeprefix("unix:"))
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.touch()
    folder.share()
    folder.remove()
    assert not path.parent.exists()

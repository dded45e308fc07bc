"""The relay as a process: what the driver hears of it, however it ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
import textwrap
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pagethrift.address import parse_address
from pagethrift.errors import LinkError, PagethriftError, QmpError, StreamError, UsageError
from pagethrift.live.relay_process import RelayFolder, RelayProcess, relay_command
from pagethrift.model.relay_protocol import RelayState, RelayStatus
from pagethrift.sockets import listen


def script(body: str) -> list[str]:
    """Return the argv of a fake relay that has said it listens."""
    head = """
        import json, os, sys, time
        def put(line):
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
        def say(type="status", protocol=1, **data):
            put(json.dumps({"type": type, "protocol": protocol, **data}).encode() + b"\\n")
        def end(kind="", message="", **more):
            say("end", error={"kind": kind, "message": message, **more} if kind else None)
        say(state="listening")
    """
    return [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(body)]


def test_hears_states_and_is_told_rounds_and_go() -> None:
    body = """
        lines = [json.loads(sys.stdin.readline()) for _ in range(2)]
        say(state="ram", pages_in=lines[0]["round"], novelty=1)
        say(state="done", warning=str(lines[1]["go"]))
        end()
    """

    async def run() -> None:
        heard: list[RelayStatus] = []
        relay = await RelayProcess.start(script(body), heard.append)
        assert relay.status.state is RelayState.LISTENING
        relay.tell_round(3)
        relay.tell_go()
        assert await relay.wait_done()
        states = list(dict.fromkeys(status.state for status in heard))
        assert states == [RelayState.LISTENING, RelayState.RAM, RelayState.DONE]
        assert heard[1].pages_in == 3
        assert heard[2].warning == "True"
        assert await relay.wait_last_word(0.0)
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
        while relay.status.pages_in < 1:
            await asyncio.sleep(0.01)
        await relay.refresh()
        assert relay.status.pages_in == 3
        began_s = time.monotonic()
        await relay.refresh()  # it is silent now
        assert time.monotonic() - began_s < 5
        assert relay.status.pages_in == 3
        await relay.close()

    asyncio.run(run())


async def ended(relay: RelayProcess) -> PagethriftError:
    assert await relay.wait_last_word(10)
    assert relay.failed
    error = await relay.failure()
    assert "\n" not in str(error)
    await relay.close()
    return error


@pytest.mark.parametrize(
    ("last_word", "error"),
    [
        ('"link", "the link is down"', LinkError("the link is down")),
        ('"usage", "no strategy xyz"', UsageError("no strategy xyz")),
        ('"qmp", "m"', QmpError("m")),
        ('"weather", "it rains"', PagethriftError("it rains")),
        ('"stream", "stream byte 12: expected x, got 0x55", offset=12, expected="x", got="0x55"',
         StreamError(12, "x", "0x55")),
    ],
)  # fmt: skip
def test_the_last_word_is_the_error_whatever_else_is_said(last_word: str, error: PagethriftError) -> None:
    body = f"""
        sys.stdin.readline()
        say(state="failed")
        sys.stderr.write("stream byte 1: expected nothing, got this\\n")
        end({last_word})
        sys.exit(6)
    """

    async def run() -> None:
        relay = await RelayProcess.start(script(body), lambda _: None)
        relay.tell_go()
        found = await ended(relay)
        assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('sys.stderr.write("first\\nlast words\\n\\n"); sys.exit(5)',
         "relay: last words (ended with exit code 5)"),
        ('sys.stderr.write("x" * 10**6 + "\\x1b[2Jend\\n"); sys.exit(1)',
         f"relay: {'x' * 300} (ended with exit code 1)"),
        ('sys.stderr.buffer.write(b"bad \\x1b[2J\\xff"); sys.exit(1)',
         "relay: bad ?[2J\ufffd (ended with exit code 1)"),
        ("os.kill(os.getpid(), 9)", "relay: ended by SIGKILL"),
        ("os.kill(os.getpid(), 40)", "relay: ended by signal 40"),
        ("sys.exit(1)", "relay: ended with exit code 1"),
        ('say(state="done"); sys.exit(0)', "relay: ended with exit code 0"),
        ('put(b"{broken\\n")', "relay: the relay said b'{broken': it is not readable JSON"
         " (ended with exit code 0)"),
    ],
)  # fmt: skip
def test_ends_without_a_last_word(body: str, message: str) -> None:
    async def run() -> None:
        relay = await RelayProcess.start(script(f"sys.stdin.readline(); {body}"), lambda _: None)
        relay.tell_go()
        error = await ended(relay)
        assert (type(error), str(error)) == (LinkError, message)

    asyncio.run(run())


def test_what_is_no_message_changes_nothing() -> None:
    body = """
        sys.stdin.readline()
        say(state="ram", pages_in=5)
        for line in (b"hello", b"[" * 9999, b'{"state": 1}', b"\\xff", b'{"x": ' + b"9" * 9999 + b"}"):
            put(line + b"\\n")
        say(state="ram", pages_in=1e400)
        put(b"x" * (8 << 20))
        put(b"\\n")
        say(state="done", pages_in=6)
        end()
    """

    async def run() -> None:
        relay = await RelayProcess.start(script(body), lambda _: None)
        tracemalloc.start()
        relay.tell_go()
        assert await relay.wait_done()
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (relay.status.state, relay.status.pages_in) == (RelayState.DONE, 6)
        assert peak_bytes < 2 << 20
        await relay.close()

    asyncio.run(run())


def test_another_protocol_ends_it_at_once() -> None:
    async def run() -> None:
        argv = script('say(protocol=2, state="new"); time.sleep(60)')
        argv[2] = argv[2].replace('say(state="listening")', "pass")
        began_s = time.monotonic()
        with pytest.raises(LinkError, match="speaks protocol 2, this driver 1"):
            await RelayProcess.start(argv, lambda _: None)
        assert time.monotonic() - began_s < 8

    asyncio.run(run())


def test_does_not_start() -> None:
    async def run() -> None:
        listen = relay_command("unix:/tmp/x", "host:1", "no-such-row", {}, None)
        with pytest.raises(UsageError, match="no-such-row") as caught:
            await RelayProcess.start(listen, lambda _: None)
        assert not str(caught.value).startswith("relay:")
        with pytest.raises(LinkError, match=r"^relay: .*--no-such-option"):
            await RelayProcess.start([*listen, "--no-such-option"], lambda _: None)

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
print('{"type": "status", "protocol": 1, "state": "listening"}', flush=True)
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


def test_folder_is_private_and_removed(folder: Path) -> None:
    made = RelayFolder(folder, -1, -1)
    path = Path(made.uri.removeprefix("unix:"))
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.touch()
    made.share()
    made.remove()
    made.remove()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("parent", ["none", "file", "x" * 100])
def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path, parent: str) -> None:
    (tmp_path / "file").touch()
    if len(parent) > 50:
        (tmp_path / parent).mkdir()
    with pytest.raises(UsageError):
        RelayFolder(tmp_path / parent, -1, -1)
    assert not any((tmp_path / parent).glob("*"))


NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A folder that the other user owns."""
    path = Path(tempfile.mkdtemp(prefix="ptl"))
    os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@root_only
def test_the_folder_stays_roots_and_qemus_user_can_only_connect(theirs: Path) -> None:
    folder = RelayFolder(theirs, NOBODY, NOBODY)
    path = folder.uri.removeprefix("unix:")
    with listen(parse_address(folder.address)):
        assert _as_nobody(lambda: socket.socket(socket.AF_UNIX).connect(path)) != 0
        folder.share()
        assert _as_nobody(lambda: socket.socket(socket.AF_UNIX).connect(path)) == 0
        assert _as_nobody(lambda: os.unlink(path)) != 0
        assert _as_nobody(lambda: os.rename(path, path + "x")) != 0
        assert _as_nobody(lambda: os.symlink("/etc", path + "x")) != 0
    found = Path(path).parent.stat()
    assert (found.st_uid, found.st_mode & 0o777) == (0, 0o710)
    folder.remove()
    assert list(theirs.iterdir()) == []


@root_only
def test_a_link_in_the_folders_place_is_never_followed(theirs: Path, tmp_path: Path) -> None:
    """The owner of the folder around it swaps it for a link: nothing of root's changes."""
    victim = tmp_path / "relay.sock"
    victim.write_text("root's")
    folder = RelayFolder(theirs, NOBODY, NOBODY)
    shown = Path(folder.uri.removeprefix("unix:")).parent
    before = (victim.stat(), tmp_path.stat())
    shown.rename(theirs / "away")
    shown.symlink_to(tmp_path)
    with listen(parse_address(folder.address)) as listener:
        assert (theirs / "away/relay.sock").is_socket()
        folder.share()
        listener.remove_file()
    folder.remove()
    after = (victim.stat(), tmp_path.stat())
    assert [(each.st_uid, each.st_gid, each.st_mode, each.st_ino) for each in after] == [
        (each.st_uid, each.st_gid, each.st_mode, each.st_ino) for each in before
    ]
    assert shown.is_symlink()


@root_only
def test_a_socket_that_is_swapped_for_a_link_is_not_followed(theirs: Path, tmp_path: Path) -> None:
    """As if somebody had got in before ``share``: the link changes its owner, not what it points at."""
    victim = tmp_path / "shadow"
    victim.write_text("root's")
    folder = RelayFolder(theirs, NOBODY, NOBODY)
    path = Path(folder.uri.removeprefix("unix:"))
    path.symlink_to(victim)
    folder.share()
    assert victim.stat().st_uid == 0
    folder.remove()
    assert victim.read_text() == "root's"


def _as_nobody(act: Callable[[], object]) -> int:
    """Do something as the other user; return 0 when it was allowed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_relay_that_cannot_be_started_is_said() -> None:
    with pytest.raises(LinkError, match="the relay cannot be started: No such file or directory"):
        asyncio.run(RelayProcess.start(["/nonexistent/python"], lambda _: None))

"""What writers share: one error for all, and one clock of whether anything moves."""

from __future__ import annotations

import threading
import time
from collections import deque

import pytest

from pagethrift.errors import LinkError, PagethriftError
from pagethrift.relay.writing import Writing
from tests.unit.relay.channel_ends import ends


def pieces(*sizes: int) -> deque[memoryview]:
    return deque(memoryview(bytes(size)) for size in sizes)


def test_everything_is_written_and_each_write_is_told() -> None:
    told: list[int] = []
    with ends(1) as pair:
        Writing(5.0, lambda error: None).write(
            pair.near[0], pieces(1000, 0, 7), lambda count, now_s: told.append(count)
        )
        assert len(pair.read(0, 0.05)) == sum(told) == 1007


def test_the_first_error_is_reported_once_and_is_everybodys() -> None:
    said: list[PagethriftError] = []
    writing = Writing(5.0, said.append)

    def fail(error: Exception) -> None:
        raise error

    writing.guard(lambda: fail(BrokenPipeError(32, "Broken pipe")))
    writing.guard(lambda: fail(LinkError("another")))
    writing.guard(writing.check)
    assert [str(error) for error in said] == ["the destination closed the link: Broken pipe"]
    assert writing.error is said[0]
    with pytest.raises(LinkError, match="Broken pipe"):
        writing.check()


def test_a_socket_closed_by_another_thread_is_an_error_of_the_link() -> None:
    said: list[PagethriftError] = []
    writing = Writing(5.0, said.append)

    def fail() -> None:
        raise ValueError("file descriptor cannot be a negative integer (-1)")

    writing.guard(fail)
    assert "negative integer" in str(said[0])


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "out of memory"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero (a fault of"),
    ],
)
def test_an_error_that_nobody_foresaw_ends_everybody_too(error: Exception, text: str) -> None:
    """A writer that ended in silence would leave main waiting for its SYNC."""
    said: list[PagethriftError] = []
    writing = Writing(5.0, said.append)

    def fail() -> None:
        raise error

    writing.guard(fail)
    assert str(said[0]).startswith(text)
    with pytest.raises(PagethriftError):
        writing.check()


def test_giving_up_reports_nothing_and_wakes_who_waits() -> None:
    said: list[PagethriftError] = []
    writing, woken = Writing(5.0, said.append), threading.Event()
    condition = writing.condition()

    def wait() -> None:
        with writing.lock:
            while writing.error is None:
                condition.wait(60)
        woken.set()
        writing.check()

    threading.Thread(target=writing.guard, args=(wait,), daemon=True).start()
    time.sleep(0.05)
    assert writing.give_up(LinkError("the link was given up"))
    assert not writing.give_up(LinkError("again"))
    assert woken.wait(3)
    assert str(writing.error) == "the link was given up"
    assert said == []


def test_a_destination_that_takes_nothing_is_an_error() -> None:
    writing, began_s = Writing(0.5, lambda error: None), time.monotonic()
    with ends(1, 4096) as pair, pytest.raises(LinkError, match="has taken nothing for 0 s"):
        writing.write(pair.near[0], pieces(1 << 20), lambda count, now_s: None)
    assert 0.4 < time.monotonic() - began_s < 3


def test_one_connection_that_moves_keeps_a_blocked_one_waiting() -> None:
    """A channel waits at its SYNC while main carries on; only if nothing moves, nobody lives there."""
    said: list[PagethriftError] = []
    writing = Writing(0.6, said.append)
    with ends(2, 4096) as pair:
        blocked = threading.Thread(
            target=writing.guard,
            args=(lambda: writing.write(pair.near[1], pieces(1 << 20), lambda count, now_s: None),),
            daemon=True,
        )
        blocked.start()
        for _ in range(15):
            writing.write(pair.near[0], pieces(10), lambda count, now_s: None)
            pair.far[0].recv(100)
            time.sleep(0.1)
        assert blocked.is_alive()
        assert said == []
        blocked.join(3)
        assert [str(error) for error in said] == ["the destination has taken nothing for 1 s"]


def test_writing_ends_at_once_when_another_writer_failed() -> None:
    writing, failed = Writing(60.0, lambda error: None), threading.Event()

    def write() -> None:
        try:
            writing.write(pair.near[0], pieces(1 << 20), lambda count, now_s: None)
        except LinkError:
            failed.set()

    with ends(1, 4096) as pair:
        threading.Thread(target=write, daemon=True).start()
        time.sleep(0.05)
        writing.give_up(LinkError("elsewhere"))
        assert failed.wait(2)

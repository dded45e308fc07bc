"""A thread whose end is never silent."""

from __future__ import annotations

from pagethrift.errors import LinkError, PagethriftError
from pagethrift.relay import threads


def failure(error: Exception) -> PagethriftError:
    said: list[PagethriftError] = []

    def work() -> None:
        raise error

    threads.start("test", work, said.append).join(5)
    assert len(said) == 1
    return said[0]


def test_whatever_a_thread_raises_is_told() -> None:
    known = LinkError("the link is down")
    assert failure(known) is known
    assert str(failure(MemoryError())) == "out of memory"
    assert str(failure(KeyError("x"))).startswith("KeyError: 'x' (a fault of pagethrift")


def test_a_thread_that_ends_by_itself_says_nothing() -> None:
    said: list[PagethriftError] = []
    threads.start("test", lambda: None, said.append).join(5)
    assert not said

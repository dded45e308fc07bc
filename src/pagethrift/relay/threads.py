"""Threads whose end is never silent: a thread that nobody hears would leave all others waiting for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pagethrift.errors import PagethriftError
from pagethrift.model.error_data import unexpected


def start(
    name: str, work: Callable[[], None], failed: Callable[[PagethriftError], object]
) -> threading.Thread:
    """Start a daemon thread; ``failed`` gets whatever ``work`` raises, memory that ran out included."""

    def run() -> None:
        try:
            work()
        except Exception as error:
            failed(unexpected(error))

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread

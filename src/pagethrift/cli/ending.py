"""The signals by which a process is told to end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

ENDING = (
    "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF",
    "SIGXCPU",
)  # fmt: skip
"""all whose default is to end the process, but those that say that it is broken"""


def ending_signals() -> list[signal.Signals]:
    """Return the signals to be handled: not those that the parent wants ignored, as nohup does SIGHUP."""
    numbers = [signal.Signals[name] for name in ENDING]
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def until_signal(work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T | None, str]:
    """Run ``work``, which a signal cancels; return its value, or None and where the guest is then."""

    async def interruptible() -> tuple[T | None, str]:
        task = asyncio.ensure_future(work())
        for number in ending_signals():
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            return await task, ""
        except asyncio.CancelledError as error:
            return None, str(error) or "nothing had been moved: the guest runs on at the source"

    return asyncio.run(interruptible())

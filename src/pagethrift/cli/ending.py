"""The signals by which a process is told to end."""

from __future__ import annotations

import signal

ENDING = (
    "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF",
    "SIGXCPU",
)  # fmt: skip
"""all whose default is to end the process, but those that say that it is broken"""


def ending_signals() -> list[signal.Signals]:
    """Return the signals to be handled: not those that the parent wants ignored, as nohup does SIGHUP."""
    numbers = [signal.Signals[name] for name in ENDING]
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]

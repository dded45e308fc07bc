"""libvirt's Python library: loaded when first needed, called in threads, heard in a loop of its own.

Every call of the library blocks, and some wait until a QEMU has stopped being busy. So each call gets a
thread, which the process does not wait for when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeVar

from pagethrift.errors import UsageError

T = TypeVar("T")

MISSING = (
    "pagethrift libvirt needs libvirt's Python library: install the package python3-libvirt and let this"
    " Python see it, or install libvirt-dev and a compiler and run pip install '.[libvirt]' in its sources"
)


def load() -> Any:
    """Return the module ``libvirt``, its event loop running. Raises UsageError where it is not installed."""
    try:
        import libvirt
    except ImportError as error:
        raise UsageError(f"{MISSING} ({error})") from error
    _run_events(libvirt)
    return libvirt


@cache
def _run_events(libvirt: Any) -> None:
    """Register libvirt's own loop and run it; must come before the first connection is opened."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # errors are raised, not printed
    libvirt.virEventRegisterDefaultImpl()

    def run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=run, name="libvirt-events", daemon=True).start()


async def in_thread(work: Callable[[], T]) -> T:
    """Carry out blocking ``work`` in a thread of its own; a cancelled caller leaves it behind."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            value = work()
        except BaseException as error:
            tell(loop, partial(_settle, done, None, error))
        else:
            tell(loop, partial(_settle, done, value, None))

    threading.Thread(target=run, name="libvirt-call", daemon=True).start()
    return await done


def _settle(done: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if done.done():  # whoever waited was cancelled
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(value)


def tell(loop: asyncio.AbstractEventLoop, what: Callable[[], object]) -> None:
    """Let ``loop`` call ``what``; a loop that has ended needs to know nothing."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(what)

"""The garbage collector while commands start."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collecting_later() -> Iterator[None]:
    """Leave the garbage collector off, and what was made meanwhile out of its sight for good.

    Numba, where it has to compile or load kernels, makes hundreds of thousands of objects that stay: with
    the collector on, starting and ending such a relay took 1.1 CPU seconds instead of 0.7.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()

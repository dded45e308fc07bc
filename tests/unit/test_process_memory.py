"""Peak memory belongs to the program that runs, not to what its process was forked from."""

from __future__ import annotations

import subprocess
import sys

from pagethrift.process_memory import memory_bytes

CHILD = """
import resource, sys
from pagethrift.process_memory import memory_bytes
held = bytearray(30 << 20)
print(memory_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)
"""


def test_a_childs_peak_is_its_own() -> None:
    """The child begins as a copy of this process, which is large for a moment."""
    large = bytearray(b"x") * (300 << 20)
    argv = [sys.executable, "-c", CHILD]
    said = subprocess.run(argv, check=True, capture_output=True, preexec_fn=lambda: None).stdout
    peak_bytes, kept_bytes = map(int, said.split())
    assert len(large) <= kept_bytes, "the counter that VmHWM stands in for has changed: see why"
    assert 30 << 20 < peak_bytes < 150 << 20


def test_own_memory_and_that_of_nobody() -> None:
    assert 1 << 20 < memory_bytes(key="VmRSS") <= memory_bytes()
    assert memory_bytes(2**22 + 1) == 0
    assert memory_bytes(key="VmNothing") == 0

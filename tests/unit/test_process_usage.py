"""What a process has used: a peak that is its own, and the time it waited for a processor."""

from __future__ import annotations

import os
import subprocess
import sys

from pagethrift.process_usage import memory_bytes, waited_s

CHILD = """
import resource, sys
from pagethrift.process_usage import memory_bytes
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


def test_waiting_for_a_processor_is_seen() -> None:
    """Two that always want the same processor: each waits about half of the time."""
    spin = (
        "import os, time; from pagethrift.process_usage import waited_s\n"
        f"os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}}); until = time.monotonic() + 0.6\n"
        "while time.monotonic() < until: pass\n"
        "print(waited_s())"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    waited = [float(child.communicate()[0]) for child in children]
    assert sum(waited) > 0.3
    assert waited_s(2**22 + 1) == 0

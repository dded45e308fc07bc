"""libvirt's library: said to be missing in one line; its threads never keep the process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from pagethrift.virt.library import in_thread


def test_a_missing_library_is_named_with_what_to_do() -> None:
    program = "import sys; sys.modules['libvirt'] = None; from pagethrift.cli.main import main; main()"
    command = [sys.executable, "-c", program, "libvirt", "migrate", "vm1", "qemu+ssh://host2/system"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "install the package python3-libvirt" in done.stderr
    assert "pip install '.[libvirt]' in its sources" in done.stderr


def test_values_and_errors_come_back() -> None:
    async def run() -> None:
        assert await in_thread(lambda: threading.current_thread().daemon)
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda: 1 / 0)

    asyncio.run(run())


def test_a_call_that_never_returns_is_left_behind() -> None:
    never = threading.Event()

    async def run() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await in_thread(never.wait)

    asyncio.run(run())
    never.set()

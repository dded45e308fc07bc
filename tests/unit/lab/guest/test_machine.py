"""Guests: command line and errors; real ones start in tests/lab/test_machine.py."""

import pytest

from pagethrift.errors import LabError
from pagethrift.lab.guest import machine
from pagethrift.lab.hosts.network import GUEST_ADDRESS

MIB = 2**20


def test_kernel_command_line_carries_memcached() -> None:
    guest = machine.GuestSpec(memcached_bytes=100 * MIB, memcached_args=("-c", "2048"))
    words = machine.kernel_command_line(guest).split()
    assert "pt.memory=100" in words
    assert "pt.memcached=-c,2048" in words
    assert f"pt.ip={GUEST_ADDRESS}/24" in words
    assert not any("classes" in word for word in words)
    telling = machine.kernel_command_line(machine.GuestSpec(tells_page_classes=True)).split()
    assert f"pt.classes={machine.CLASSES_PORT}" in telling
    assert "transparent_hugepage=never" not in words
    small = machine.kernel_command_line(machine.GuestSpec(huge_pages=False)).split()
    assert "transparent_hugepage=never" in small


@pytest.mark.parametrize("word", ["a b", "a,b", 'a"b'])
def test_arguments_that_cannot_pass_are_refused(word: str) -> None:
    with pytest.raises(LabError, match="space, comma or quote"):
        machine.kernel_command_line(machine.GuestSpec(memcached_args=(word,)))


def test_a_panic_is_told_by_its_reason_not_by_the_last_line() -> None:
    panic = (
        "[    2.1] Kernel panic - not syncing: Out of memory and no killable processes...\r\n"
        "[    2.2] CPU: 0 PID: 1 Comm: init\r\n[    2.3] Kernel Offset: disabled\r\n"
    )
    assert machine.console_words(panic) == "kernel panic: Out of memory and no killable processes..."
    assert machine.console_words("booting\npagethrift: memcached ended\n") == "pagethrift: memcached ended"
    assert machine.console_words("") == "nothing"
    assert len(machine.console_words("x" * 1000)) == 200

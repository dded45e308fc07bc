"""What may be asked of a migration under libvirt."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from pagethrift.errors import UsageError
from pagethrift.virt import options as options_module
from pagethrift.virt.options import NEAR_HOST, PORTS, VirtOptions, free_port


@pytest.mark.parametrize(
    ("uri", "to", "expected"),
    [
        ("qemu+ssh://root@host2/system", "", "host2:49200"),
        ("qemu+tcp://10.0.0.2:16509/system", "", "10.0.0.2:49200"),
        ("qemu+tcp://[fd00::2]/system", "", "[fd00::2]:49200"),
        ("qemu+ssh://host2/system", "fast2:49152", "fast2:49152"),
    ],
)
def test_where_the_destinations_qemu_is(uri: str, to: str, expected: str) -> None:
    found = VirtOptions("g", uri, to=to)
    found.check()
    assert str(found.destination(49200)) == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"destination_uri": "qemu:///system"}, "names no host"),
        ({"destination_uri": "qemu+tcp://[fd00/system"}, "write qemu"),
        ({"to": "unix:/run/x"}, "over TCP"),
        ({"downtime_limit_s": 0.001}, "more than 1 ms"),
        ({"parallel": 0}, "choose 1 to"),
        ({"undefine_source": True}, "give --persistent too"),
        ({"listen_address": "tcp://10.0.0.2"}, "give an address"),
    ],
)
def test_what_contradicts_itself_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        VirtOptions(**{"domain": "g", "destination_uri": "qemu+tcp://hostb/system"} | options).check()


def test_a_port_that_is_taken_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind((NEAR_HOST, 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(options_module, "PORTS", (port, PORTS[5]))
        assert free_port() == PORTS[5]

"""Where a guest is: only what an end that was asked has said."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from pagethrift.drain import places
from pagethrift.drain.places import Place
from pagethrift.errors import QmpError
from pagethrift.evacuation.plan import Guest
from pagethrift.live.qmp import QmpMonitor
from pagethrift.virt import hypervisor, library

GUEST = Guest("a", "", qmp="/a", to="h:1", destination_qmp="/b")
DOMAIN = Guest("a", "", domain="a", desturi="qemu:///there", connect="qemu:///here")


@pytest.mark.parametrize(
    ("cause", "gone"),
    [
        (ConnectionRefusedError(), True),
        (FileNotFoundError(), True),
        (BlockingIOError(), False),
        (PermissionError(), False),
        (TimeoutError(), False),
    ],
)
def test_a_source_that_does_not_answer_has_ended_only_if_nobody_listens(
    monkeypatch: pytest.MonkeyPatch, cause: OSError, gone: bool
) -> None:
    async def connect(path: str, role: str) -> None:
        raise QmpError("no answer") from cause

    monkeypatch.setattr(QmpMonitor, "connect", connect)
    assert asyncio.run(places._source_is_gone(GUEST)) is gone


@dataclass
class _Domain:
    name: str = "a"
    uuid: str = "u"


class _Hypervisor:
    states: dict[str, str]

    def __init__(self, uri: str) -> None:
        self._state = self.states[uri]

    @classmethod
    async def connect(cls, libvirt: object, uri: str, role: str) -> _Hypervisor:
        return cls(uri)

    async def active(self) -> list[_Domain]:
        return [_Domain()] if self._state else []

    async def state(self, uuid: str) -> str:
        return self._state

    async def close(self) -> None:
        return


@pytest.mark.parametrize(
    ("here", "there", "place"),
    [
        ("running", "", Place.SOURCE),
        ("", "running", Place.DESTINATION),
        ("", "paused", Place.UNKNOWN),
        ("running", "paused", Place.UNKNOWN),
        ("", "", Place.UNKNOWN),
    ],
)
def test_a_domain_is_out_only_where_it_runs(
    monkeypatch: pytest.MonkeyPatch, here: str, there: str, place: Place
) -> None:
    _Hypervisor.states = {"qemu:///here": here, "qemu:///there": there}
    monkeypatch.setattr(hypervisor, "Hypervisor", _Hypervisor)
    monkeypatch.setattr(library, "load", lambda: None)
    assert asyncio.run(places._by_libvirt(DOMAIN)).place is place

"""What tests with two libvirt daemons have in common.

PAGETHRIFT_LIBVIRTS names the series: 11.3 alone in `make test`, 9.0 and 11.3 in `make test-all`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagethrift.errors import PagethriftError
from pagethrift.lab.guest.libvirt import LibvirtSeries
from pagethrift.lab.guest.packages import QemuSeries
from pagethrift.lab.hosts.namespaces import require_rights
from tests.libvirt.guest import DOMAIN, Guest
from tests.libvirt.hosts import LibvirtLab, libvirt_lab

LINK_BPS = 25_000_000
"""200 Mbit/s: a guest of 256 MiB that writes 12 MiB/s converges in some seconds"""
PAIRS: dict[LibvirtSeries, QemuSeries] = {"9.0": "7.2", "11.3": "10.0"}
WANTED = os.environ.get("PAGETHRIFT_LIBVIRTS", "11.3").split(",")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("libvirt")


@pytest.fixture(scope="module", params=[series for series in PAIRS if series in WANTED])
def lab(request: pytest.FixtureRequest) -> Iterator[LibvirtLab]:
    """Both hosts; skips, saying why, where this machine cannot have them."""
    series: LibvirtSeries = request.param
    try:
        require_rights()
        building = libvirt_lab(series, PAIRS[series], LINK_BPS)
        made = building.__enter__()
    except PagethriftError as error:
        pytest.skip(f"no two libvirt {series} here: {error}")
    try:
        yield made
    finally:
        building.__exit__(None, None, None)


@pytest.fixture(scope="module")
def _guest(lab: LibvirtLab) -> Iterator[Guest]:
    guest = Guest(lab)
    yield guest
    guest.end()


@pytest.fixture
def guest(_guest: Guest) -> Guest:
    """A guest that runs and writes at one of the hosts; a test leaves it wherever it is."""
    _guest.run()
    _guest.here.virsh("migrate-setmaxdowntime", DOMAIN, "300")
    return _guest


@pytest.fixture
def exact_guest(_guest: Guest) -> Guest:
    """The same, or a bare-metal one where QEMU loses a Linux guest's dirty marks."""
    _guest.run(exact=True)
    _guest.here.virsh("migrate-setmaxdowntime", DOMAIN, "300")
    return _guest

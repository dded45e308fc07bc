"""A short soak (`make soak` is the long one), and that a soak sees what grows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.qemu.machines import QemuLike
from tests.qemu.soak import COMPARE_EVERY, FLAT, GROWTH_BYTES, Held, Hop, Soak, soak

MIGRATIONS = 20
HELD = Held(
    rss_bytes=50 << 20, descriptors=10, threads=2, children=1, temporary=0, state_files=0, namespaces=0
)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_wears_out(qemu_10: QemuLike, folder: Path) -> None:
    record = soak(qemu_10, folder, MIGRATIONS)
    assert record.judged() == []
    assert len(record.hops) == MIGRATIONS
    assert sum(hop.compared for hop in record.hops) == MIGRATIONS // COMPARE_EVERY
    assert {(hop.held.children, hop.held.temporary, hop.held.state_files) for hop in record.hops} == {
        (1, 0, 0)
    }


def course(*last: Held) -> Soak:
    hop = Hop("pagethrift", False, 0.5, 0.1, False, HELD)
    return Soak([*[hop] * 15, *(replace(hop, held=held) for held in last)])


def test_what_stays_is_no_fault() -> None:
    assert course().judged() == []
    assert course(replace(HELD, rss_bytes=HELD.rss_bytes + GROWTH_BYTES, namespaces=7)).judged() == []


@pytest.mark.parametrize("name", FLAT)
def test_one_more_is_a_fault(name: str) -> None:
    more = replace(HELD, **{name: getattr(HELD, name) + 1})
    assert course(more, HELD).judged() == [], "only what stays"
    [fault] = course(HELD, more).judged()
    assert fault.startswith(f"{name}: ")


def test_memory_that_grows_is_a_fault() -> None:
    [fault] = course(replace(HELD, rss_bytes=HELD.rss_bytes * 2)).judged()
    assert fault.startswith("resident memory: ")

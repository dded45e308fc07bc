"""Multifd terminated: image(thin(main and channels)) == image of the same pages as a plain stream."""

from __future__ import annotations

import random
from enum import Enum

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings

from pagethrift.content.ledger import State
from pagethrift.content.signature import SubpageSigner
from pagethrift.errors import StreamError
from pagethrift.model.pages import PAGE_BYTES, PageBatch
from pagethrift.strategies.base import Signing
from pagethrift.strategies.table import TABLE
from pagethrift.stream.image import image
from pagethrift.stream.packets import PacketFlag
from pagethrift.stream.sections import Context
from pagethrift.stream.wire import RamFlag
from tests.fuzz import multifd_oracle as oracle
from tests.multifd import MAIN, Deadlock, Migration, Scene, random_migration
from tests.property.test_image import differences
from tests.streams import before, chaos, examples, seeds

EXAMPLES = examples(50)


@pytest.mark.parametrize("name", TABLE)
@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=seeds)
def test_every_strategy_leaves_the_same_image(name: str, seed: int) -> None:
    it = random_migration(seed)
    assert differences(it.plain, Scene(it, TABLE[name](), seed).run()) == 0


@settings(max_examples=20 * EXAMPLES, deadline=None)
@given(seed=seeds)
def test_chaos_is_harmless_and_nobody_waits_for_ever(seed: int) -> None:
    it = random_migration(seed)
    scene = Scene(it, chaos(seed), seed)
    assert differences(it.plain, scene.run()) == 0
    assert len(scene.thinner.held) == 0


@settings(max_examples=3 * EXAMPLES, deadline=None)
@given(seed=seeds)
def test_ledger_tells_the_truth(seed: int) -> None:
    it = random_migration(seed)
    scene = Scene(it, chaos(seed, Signing.SUBPAGES), seed)
    memory = image(scene.run(), before).memory
    signer, ledger = scene.thinner._signer, scene.thinner.ledger
    assert isinstance(signer, SubpageSigner)
    pages = np.arange(scene.thinner.table.total_pages)
    kinds, lengths = np.ones(len(pages), np.uint8), np.full(len(pages), PAGE_BYTES, np.int32)
    truth = np.zeros((len(pages), signer.columns), np.uint64)
    signer.sign(PageBatch(pages, kinds, pages * PAGE_BYTES, lengths, memory), truth)
    assert (ledger.rows[ledger.state == State.KNOWN] == truth[ledger.state == State.KNOWN]).all()
    assert (truth[ledger.state == State.ZERO] == signer.zero_row).all()


def damaged(it: Migration, rng: random.Random) -> Migration:
    """Change bytes of one write, or leave one out."""
    script = list(it.script)
    at = rng.randrange(len(script))
    to, data = script[at]
    if rng.random() < 0.2 or not data:
        del script[at]
    else:
        changed = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            where = rng.randrange(min(len(changed), 400))
            changed[where] = rng.choice((rng.randrange(256), changed[where] ^ 1 << rng.randrange(8)))
        script[at] = (to, bytes(changed))
    return Migration(it.channels, it.per_section, it.legacy_zero, script, it.plain)


class Seen(Enum):
    """How a damaged migration ended."""

    REFUSED = "in order"
    CANCELLED = "both waited for what was lost, so that the operator cancelled"
    EQUAL = "as the destination would have it"
    UNKNOWN = "only the relay takes it"


def run_damaged(seed: int) -> Seen:
    """A legal stream with the right RAM, or StreamError: never a hang, never another exception."""
    rng = random.Random(seed)
    it = damaged(random_migration(seed, bodies=3, steps=6), rng)
    scene, cancelled = Scene(it, chaos(seed), seed), False
    try:
        try:
            thinned = scene.run()
        except Deadlock:  # a SYNC or mark was lost
            scene.close()
            thinned, cancelled = scene.run(), True
    except StreamError as error:
        problem: StreamError | None = error
    else:
        problem = None
    if problem is not None:
        assert problem.offset >= 0
        assert "\n" not in str(problem)
        return Seen.REFUSED
    if cancelled or scene.thinner.table.total_pages >= 1000:  # a damaged size shall not fill this machine
        return Seen.CANCELLED
    try:
        oracle.check(it, image(thinned, before), before)
    except oracle.Unsure:
        return Seen.UNKNOWN
    return Seen.EQUAL


@pytest.fixture
def sections_behind_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that minds as little as QEMU where sections stand.

    What main had before its first page stands behind pages that channels brought, once that is lost or
    changed which keeps them apart.
    """
    monkeypatch.setattr(Context, "parts_begun", property(lambda context: False, lambda context, begun: None))


@pytest.mark.usefixtures("sections_behind_pages")
@settings(
    max_examples=15 * EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=seeds)
@example(seed=1648185)
def test_damaged_channels_end_in_order(seed: int) -> None:
    run_damaged(seed)


def test_these_migrations_show_what_they_should() -> None:
    """The generator covers both sync modes, both zero ways, SYNC on pages, split sections."""
    found = [random_migration(seed) for seed in range(200)]
    flush = int(RamFlag.MULTIFD_FLUSH).to_bytes(8, "big")
    for per_section in (False, True):
        for legacy in (False, True):
            some = [it for it in found if (it.per_section, it.legacy_zero) == (per_section, legacy)]
            assert len(some) > 20
            assert {it.packing for it in some} == {0, PacketFlag.ZLIB, PacketFlag.ZSTD}
    for it in found:
        main = b"".join(data for to, data in it.script if to == MAIN)
        assert it.per_section or flush in main


@pytest.mark.usefixtures("sections_behind_pages")
def test_much_of_the_damage_is_taken_and_compared() -> None:
    seen = [run_damaged(seed) for seed in range(100)]
    assert seen.count(Seen.EQUAL) > 30
    assert seen.count(Seen.REFUSED) > 20

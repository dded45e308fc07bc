"""Multifd terminated: image(thin(main and channels)) == image of the same pages as a plain stream."""

from __future__ import annotations

import contextlib
import random

import numpy as np
import pytest
from hypothesis import example, given, settings

from pagethrift.content.ledger import State
from pagethrift.content.signature import SubpageSigner
from pagethrift.errors import StreamError
from pagethrift.model.pages import PAGE_BYTES, PageBatch
from pagethrift.strategies.base import Signing
from pagethrift.strategies.table import TABLE
from pagethrift.stream.image import image
from pagethrift.stream.input import NotUnderstood
from pagethrift.stream.packets import PacketFlag
from pagethrift.stream.wire import RamFlag
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


class SectionsAfterPagesError(Exception):
    """What main had before its first page stands behind pages that channels brought: for QEMU only."""


def read_image(stream: bytes) -> None:
    try:
        image(stream, before)
    except NotUnderstood as error:
        orders = ("RAM before device state", "RAM's pages after the start of every section")
        if error.expected in orders:
            raise SectionsAfterPagesError from error
        raise


@settings(max_examples=15 * EXAMPLES, deadline=None)
@given(seed=seeds)
@example(seed=1648185)
def test_damaged_channels_end_in_order(seed: int) -> None:
    """A legal stream, or StreamError: never a hang, never another exception."""
    rng = random.Random(seed)
    scene = Scene(damaged(random_migration(seed, bodies=3, steps=6), rng), chaos(seed), seed)
    try:
        try:
            thinned = scene.run()
        except Deadlock:  # a SYNC or mark was lost, so that both wait: the operator cancels
            scene.close()
            thinned = scene.run()
    except StreamError as error:
        problem = error
    else:
        if scene.thinner.table.total_pages < 1000:  # a damaged size is no reason to fill this machine
            with contextlib.suppress(SectionsAfterPagesError):
                read_image(thinned)
        return
    assert problem.offset >= 0
    assert "\n" not in str(problem)


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

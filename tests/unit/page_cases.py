"""Pages of which a destination holds something: what a choice and a writer are tried with."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from pagethrift.content.ledger import State
from pagethrift.engine.choice import Payload, choose_methods, measure_payloads
from pagethrift.model.pages import I32, U8, U32, BlockTable, PageBatch

NEVER, KNOWN, ZERO = State.NEVER, State.KNOWN, State.ZERO
BLOCKS = [(b"pc.ram", 6), (b"r", 2), (b"n" * 255, 4)]
TABLE = BlockTable.of([(name, pages * 4096) for name, pages in BLOCKS])
PAGES = 12
EMPTY = bytes(4096)


@dataclass
class Case:
    """A batch of new contents for pages of which the destination holds ``old``."""

    old: dict[int, bytes]
    new: dict[int, bytes]
    state: U8
    batch: PageBatch
    masks: U32
    columns: int
    subpage: int
    allowed: U8

    def choose(self) -> tuple[U8, I32]:
        n = len(self.batch)
        methods, sizes = np.full(n, 99, np.uint8), np.full(n, -1, np.int32)
        payloads = np.full((n, len(Payload)), -1, np.int32)
        batch, state, masks, allowed = self.batch, self.state, self.masks, self.allowed
        measure_payloads(
            batch.buffer, batch.position, batch.kind, batch.page, state, masks,
            self.subpage, allowed, payloads,
        )  # fmt: skip
        choose_methods(batch.page, state, masks, allowed, payloads, methods, sizes)
        return methods, sizes


def content(rng: random.Random, old: bytes) -> bytes:
    """New content: equal, empty, a few edits, a few words in zeros, many words, noise."""
    match rng.randrange(6):
        case 0:
            return old
        case 1:
            return EMPTY
        case 2:
            data = bytearray(old)
            for _ in range(rng.randint(1, 4)):
                at = rng.randrange(4096)
                data[at] ^= 1 << rng.randrange(8)
            return bytes(data)
        case 3 | 4:
            words = [rng.randbytes(8) if rng.random() < 0.9 else b"\0" * 7 + b"\1" for _ in range(512)]
            empty = rng.choice((500, 60, 12, 5, 4, 3, 2, 1))
            for i in rng.sample(range(512), empty):
                words[i] = bytes(8)
            return b"".join(words)
        case _:
            return rng.randbytes(4096)


def case(seed: int) -> Case:
    rng = random.Random(seed)
    subpage = rng.choice((128, 256, 256, 1024, 0))
    columns = 4096 // subpage if subpage else 4
    state = np.array([rng.randrange(4) for _ in range(PAGES)], np.uint8)
    old = {i: EMPTY if state[i] == ZERO else rng.randbytes(16) * 256 for i in range(PAGES)}
    chosen = rng.sample(range(PAGES), rng.randint(1, PAGES))
    new, kinds, positions, masks, buffer = {}, [], [], [], bytearray(rng.randbytes(rng.randint(0, 9)))
    for page in chosen:
        new[page] = content(rng, old[page])
        zero_record = new[page] == EMPTY and rng.random() < 0.5
        kinds.append(0 if zero_record else 1)
        positions.append(len(buffer))
        buffer += b"\0" if zero_record else new[page]
        width = subpage or 1024
        changed = [
            old[page][c * width : (c + 1) * width] != new[page][c * width : (c + 1) * width]
            for c in range(columns)
        ]
        mask = sum(1 << c for c in range(columns) if changed[c] or rng.random() < 0.03)
        masks.append(mask if state[page] != NEVER else 0xFFFFFFFF)
    allowed = np.array([rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 231)) for _ in chosen], np.uint8)
    batch = PageBatch(
        np.array(chosen, np.int64), np.array(kinds, np.uint8), np.array(positions, np.int64),
        np.where(np.array(kinds) == 0, 1, 4096).astype(np.int32), np.frombuffer(buffer, np.uint8),
    )  # fmt: skip
    return Case(old, new, state, batch, np.array(masks, np.uint32), columns, subpage, allowed)


def one(new: bytes, state: int, mask: int, can: int, page: int = 0) -> Case:
    batch = PageBatch(
        np.array([page]), np.ones(1, np.uint8), np.zeros(1, np.int64), np.full(1, 4096, np.int32),
        np.frombuffer(bytearray(new), np.uint8),
    )  # fmt: skip
    states = np.full(PAGES, state, np.uint8)
    return Case(
        {page: EMPTY},
        {page: new},
        states,
        batch,
        np.array([mask], np.uint32),
        16,
        256,
        np.array([can], np.uint8),
    )


NOISE = random.Random(4).randbytes(4096)
FEW = bytes(800) + b"\x07" * 8 + bytes(4096 - 808)

"""Signatures against big integers, and collisions where a weak hash would have them."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagethrift.content.signature import KEY_WORDS, SUBPAGE_BYTES, Sha256Signer, SubpageSigner, fold
from pagethrift.kernels import kernel
from pagethrift.model.pages import U8, U64, PageBatch
from tests.streams import seeds
from tests.unit import twins

EDGES = [0, 1, 2**31, 2**32 - 1, 2**32, 2**63, twins.PRIME - 1, twins.PRIME, 2**64 - 1]


def batch_of(pages: list[bytes], at: int = 0, zero_records: set[int] = frozenset()) -> PageBatch:  # type: ignore[assignment]
    n = len(pages)
    buffer = np.frombuffer(bytearray(b"\x99" * at + b"".join(pages)), np.uint8)
    kinds = np.array([0 if i in zero_records else 1 for i in range(n)], np.uint8)
    return PageBatch(np.arange(n), kinds, at + 4096 * np.arange(n), np.full(n, 4096, np.int32), buffer)


def sign(signer: SubpageSigner | Sha256Signer, pages: list[bytes], at: int = 0) -> U64:
    out = np.zeros((len(pages), signer.columns), np.uint64)
    signer.sign(batch_of(pages, at), out)
    return out


def row_of(page: bytes, signer: SubpageSigner) -> list[int]:
    key = signer.key.tobytes()
    return [twins.signature(page[i : i + 256], key) for i in range(0, 4096, 256)]


def pages_of(seed: int, count: int) -> list[bytes]:
    """Noise, words of all ones, mostly zeros: what carries and what does not."""
    rng = random.Random(seed)
    kinds = [
        lambda: rng.randbytes(4096),
        lambda: b"\xff" * 4096,
        lambda: b"".join(rng.choice((bytes(8), b"\xff" * 8, rng.randbytes(8))) for _ in range(512)),
    ]
    return [rng.choice(kinds)() for _ in range(count)]


@settings(max_examples=25, deadline=None)
@given(seed=seeds, at=st.integers(0, 17))
def test_rows_are_those_of_the_twin(seed: int, at: int) -> None:
    signer = SubpageSigner.from_secret(random.Random(seed).randbytes(32))
    pages = pages_of(seed, 2)
    assert sign(signer, pages, at).tolist() == [row_of(page, signer) for page in pages]


@kernel
def _fold_of(words: U64, key: U64, out: U64) -> None:
    out[0] = fold(words[0], words[1], key, 0)


word = st.integers(0, 2**64 - 1) | st.sampled_from(EDGES)


@settings(max_examples=200, deadline=None)
@given(low=word, high=word, key=st.lists(word, min_size=4, max_size=4))
def test_fold_is_the_residue_itself(low: int, high: int, key: list[int]) -> None:
    """Congruent is not enough: two representatives of one residue would be called a change."""
    out = np.zeros(1, np.uint64)
    _fold_of(np.array([low, high], np.uint64), np.array(key, np.uint64), out)
    assert int(out[0]) == twins.fold(low + (high << 64), key)


def test_extreme_keys_and_pages() -> None:
    for key_word in EDGES:
        signer = SubpageSigner.from_key(np.full(KEY_WORDS, key_word, np.uint64))
        words = (2**63, 2**31, 2**32 - 1)
        pages = [bytes(4096), b"\xff" * 4096, *(word.to_bytes(8, "little") * 512 for word in words)]
        assert sign(signer, pages).tolist() == [row_of(page, signer) for page in pages]


def test_the_key_is_shake_of_the_secret() -> None:
    signer = SubpageSigner.from_secret(b"s" * 32)
    assert signer.key.tobytes() == hashlib.shake_256(b"s" * 32).digest(2 * SUBPAGE_BYTES + 32)
    assert signer.columns == 16
    assert signer.subpage_bytes == 256
    assert (SubpageSigner.from_secret(b"t" * 32).key != SubpageSigner.from_secret(b"s" * 32).key).all()


def test_one_lane_alone_could_not_tell_what_both_can() -> None:
    """A key for which each lane has a collision of its own: only together they see every change."""
    key = np.random.default_rng(9).integers(0, 1 << 64, KEY_WORDS, np.uint64)
    blind = {}
    for lane in (0, 32):
        # m_1 + k_1 = 0 hides m_0: the lane's product is 0 whatever m_0 is.
        blind[lane] = ((-int(key[lane] >> np.uint64(32))) % 2**32) << 32
    signer = SubpageSigner.from_key(key)
    for word in blind.values():
        pages = [(word + low).to_bytes(8, "little") + bytes(4088) for low in (1, 2)]
        rows = sign(signer, pages)
        assert rows[0, 0] != rows[1, 0]
        assert rows.tolist() == [row_of(page, signer) for page in pages]


def test_a_zero_record_signs_as_a_page_of_zeros() -> None:
    signer = SubpageSigner.from_secret(b"z" * 32)
    assert signer.zero_row.tolist() == row_of(bytes(4096), signer)
    out = np.full((2, signer.columns), 7, np.uint64)
    signer.sign(batch_of([b"\x01" * 4096, bytes(4096)], zero_records={0}), out)
    assert (out == signer.zero_row).all()


def variants(base: bytes, rng: random.Random) -> list[bytes]:
    """Subpages that differ from ``base`` the way structured data does."""
    words = [base[i : i + 8] for i in range(0, 256, 8)]

    def swapped(i: int, j: int, step: int = 1) -> bytes:
        changed = list(words)
        changed[i : i + step], changed[j : j + step] = changed[j : j + step], changed[i : i + step]
        return b"".join(changed)

    result = [swapped(i, j) for i in range(32) for j in range(i + 1, 32)]
    result += [swapped(i, j, 2) for i in range(0, 32, 2) for j in range(i + 2, 32, 2)]
    for bit in range(2048):
        result.append((int.from_bytes(base, "little") ^ 1 << bit).to_bytes(256, "little"))
    result += [base[n:] + base[:n] for n in range(1, 256)]
    for i in range(32):
        value = int.from_bytes(words[i], "little")
        for change in (1, 2**32, 2**63, 2**64 - 1, 2**64 - twins.PRIME):
            other = ((value + change) % 2**64).to_bytes(8, "little")
            result.append(base[: 8 * i] + other + base[8 * i + 8 :])
    for _ in range(200):
        i, j = rng.sample(range(32), 2)
        moved = list(words)
        moved[i] = ((int.from_bytes(words[i], "little") + 1) % 2**64).to_bytes(8, "little")
        moved[j] = ((int.from_bytes(words[j], "little") - 1) % 2**64).to_bytes(8, "little")
        result.append(b"".join(moved))
    return result


@pytest.mark.parametrize(
    "base", [bytes(256), b"\xff" * 256, bytes(range(256)), random.Random(5).randbytes(256)],
    ids=["zeros", "ones", "ramp", "noise"],
)  # fmt: skip
def test_no_collisions_among_adversarial_neighbours(base: bytes) -> None:
    """A few thousand neighbours under 20 keys: by chance one in 10^12 of such tests would fail."""
    rng = random.Random(6)
    subpages = sorted({base, *variants(base, rng)})
    padding = bytes(-len(subpages) % 16 * 256)
    data = b"".join(subpages) + padding
    pages = [data[i : i + 4096] for i in range(0, len(data), 4096)]
    for _ in range(20):
        signer = SubpageSigner.from_secret(rng.randbytes(32))
        found = sign(signer, pages).reshape(-1)[: len(subpages)]
        assert len(np.unique(found)) == len(subpages)


def bits(values: U64) -> U8:
    return np.unpackbits(values.view(np.uint8).reshape(len(values), 8), axis=1)


def test_every_input_bit_moves_half_of_the_output_bits() -> None:
    """Avalanche over keys, one flipped bit at a time: each output bit flips in 50 % of the cases."""
    rng = random.Random(7)
    flips = np.zeros(64)
    fewest, n = 64.0, 0
    for _ in range(24):
        signer = SubpageSigner.from_secret(rng.randbytes(32))
        base = rng.randbytes(256)
        number = int.from_bytes(base, "little")
        changed = [(number ^ 1 << bit).to_bytes(256, "little") for bit in range(0, 2048, 16)]
        data = b"".join(changed)
        first = sign(signer, [base * 16])[0, :1]
        others = sign(signer, [data[i : i + 4096] for i in range(0, len(data), 4096)]).reshape(-1)
        moved = bits(others ^ first)
        flips += moved.sum(axis=0)
        fewest = min(fewest, moved.mean() * 64)
        n += len(changed)
    share = flips / n
    assert share.min() > 0.44
    assert share.max() < 0.56
    assert fewest > 28


def test_keys_make_independent_signatures() -> None:
    """The same two subpages under many keys: differences spread over the whole range."""
    rng = random.Random(8)
    a, b = bytes(4096), b"\x01" + bytes(4095)
    gaps = []
    for _ in range(400):
        rows = sign(SubpageSigner.from_secret(rng.randbytes(32)), [a, b])
        gaps.append((int(rows[1, 0]) - int(rows[0, 0])) % twins.PRIME / twins.PRIME)
        assert (rows[0, 1:] == rows[1, 1:]).all()
    assert 0.42 < np.mean(gaps) < 0.58
    assert max(np.diff(sorted(gaps))) < 0.03


def test_sha256_is_the_standard_hash() -> None:
    signer = Sha256Signer.make()
    pages = [*pages_of(1, 3), bytes(4096)]
    expected = [hashlib.sha256(page).digest() for page in pages]
    assert [row.tobytes() for row in sign(signer, pages, 5)] == expected
    out = np.zeros((1, 4), np.uint64)
    signer.sign(batch_of([b"\x01" * 4096], zero_records={0}), out)
    assert out[0].tobytes() == expected[3] == signer.zero_row.tobytes()
    assert (signer.columns, signer.subpage_bytes) == (4, 0)

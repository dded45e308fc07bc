"""XBZRLE both ways, and QEMU's decoder rules with every error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagethrift.model.pages import U8
from pagethrift.stream.xbzrle import apply_delta, encode_delta, encode_sparse, put_uleb
from tests.unit import twins
from tests.unit.twins import PAGE, BrokenPayload, decode_xbzrle

ZERO = bytes(PAGE)


def array(data: bytes, at: int = 0, after: int = 0) -> U8:
    """An array with noise around the data."""
    return np.frombuffer(bytearray(b"\xa5" * at + data + b"\x5a" * after), np.uint8)


def delta(old: bytes, new: bytes, limit: int = 3 * PAGE) -> bytes | None:
    out = np.full(limit + 4200, 0xEE, np.uint8)
    stop = encode_delta(array(old, 3, 9), 3, array(new, 5, 9), 5, out, 11, limit)
    assert (out[:11] == 0xEE).all()
    return None if stop < 0 else out[11:stop].tobytes()


def sparse(new: bytes, limit: int = 3 * PAGE) -> bytes | None:
    out = np.full(limit + 4200, 0xEE, np.uint8)
    stop = encode_sparse(array(new, 5, 9), 5, out, 11, limit)
    assert (out[:11] == 0xEE).all()
    if stop < 0:
        assert (out[11 + limit + 8 :] == 0xEE).all()
    return None if stop < 0 else out[11:stop].tobytes()


def apply(payload: bytes, old: bytes) -> tuple[int, bytes]:
    page = array(old, 7, 7)
    result = apply_delta(array(payload, 2, 40), 2, len(payload), page, 7)
    assert page[:7].tobytes() + page[-7:].tobytes() == b"\xa5" * 7 + b"\x5a" * 7
    return result, page[7:-7].tobytes()


edits = st.lists(
    st.tuples(
        st.integers(0, PAGE - 1),
        st.sampled_from([1, 2, 4, 5, 6, 8, 127, 128, 300, 4096]),
        st.integers(0, 255),
    ),
    max_size=8,
)
bases = st.sampled_from([ZERO, b"\x01" * PAGE, bytes(range(256)) * 16])


def edited(old: bytes, changes: list[tuple[int, int, int]]) -> bytes:
    page = bytearray(old)
    for at, count, value in changes:
        page[at : at + count] = bytes([value]) * min(count, PAGE - at)
    return bytes(page)


@settings(max_examples=150, deadline=None)
@given(old=bases, changes=edits)
def test_delta_there_and_back(old: bytes, changes: list[tuple[int, int, int]]) -> None:
    new = edited(old, changes)
    payload = delta(old, new)
    assert payload is not None
    assert (payload == b"") == (new == old)
    assert decode_xbzrle(payload, old) == new
    assert apply(payload, old) == (0, new)
    assert delta(old, new, len(payload)) == payload
    if payload:
        assert delta(old, new, len(payload) - 1) is None


@settings(max_examples=150, deadline=None)
@given(changes=edits, full=st.booleans())
def test_sparse_there_and_back(changes: list[tuple[int, int, int]], full: bool) -> None:
    new = edited(b"\x07" * PAGE if full else ZERO, changes)
    payload = sparse(new)
    assert payload is not None
    assert (payload == b"") == (not any(new))
    assert decode_xbzrle(payload, ZERO) == new
    assert apply(payload, ZERO) == (0, new)
    assert sparse(new, len(payload)) == payload
    if payload:
        assert sparse(new, len(payload) - 1) is None


def test_delta_is_small_where_little_changed() -> None:
    new = bytearray(ZERO)
    new[0], new[4095] = 1, 2
    assert delta(ZERO, bytes(new)) == b"\x00\x01\x01" + twins.put_uleb(4094) + b"\x01\x02"
    new[2] = 3
    assert delta(ZERO, bytes(new)) == b"\x00\x03\x01\x00\x03" + twins.put_uleb(4092) + b"\x01\x02"


@pytest.mark.parametrize("value", [0, 1, 127, 128, 129, 255, 256, 4095, 4096, 16383])
def test_run_lengths(value: int) -> None:
    out = np.zeros(8, np.uint8)
    stop = put_uleb(out, 1, value)
    assert out[1:stop].tobytes() == twins.put_uleb(value)
    assert twins.uleb(out[1:].tobytes()) == (value, stop - 1)


uleb = st.sampled_from([0, 1, 2, 127, 128, 4000, 4095, 4096, 4097, 16383]).map(twins.put_uleb)
runs = st.builds(
    lambda gap, count, n: gap + count + b"\x77" * n, uleb, uleb, st.sampled_from([0, 1, 2, 127, 4096])
)
good_runs = st.builds(
    lambda gap, n: twins.put_uleb(gap) + twins.put_uleb(n) + b"\x77" * n,
    st.integers(1, 400),
    st.integers(1, 400),
)


@settings(max_examples=300, deadline=None)
@given(
    payload=st.one_of(
        st.lists(runs, max_size=4).map(b"".join),
        st.lists(good_runs, max_size=14).map(b"".join),
        st.binary(max_size=12),
        st.builds(
            lambda r, n: b"".join(r)[:-n], st.lists(good_runs, min_size=1, max_size=4), st.integers(1, 5)
        ),
    )
)
def test_the_loaders_rules(payload: bytes) -> None:
    """Whatever the payload: applied exactly as by the twin, or refused where the twin refuses."""
    old = bytes(range(256)) * 16
    result, page = apply(payload, old)
    try:
        expected = decode_xbzrle(payload, old)
    except BrokenPayload:
        assert 1 <= result <= len(payload) + 1
    else:
        assert (result, page) == (0, expected)


ERRORS = {
    "no room for an unchanged run": b"\x00",
    "an empty unchanged run inside": b"\x00\x01\xaa\x00\x01\xbb",
    "unchanged past the page": twins.put_uleb(4097) + b"\x01\xaa",
    "no room for a new run": b"\x05\x01",
    "an empty new run": b"\x05\x00\xaa",
    "new bytes past the page": twins.put_uleb(4095) + b"\x02\xaa\xbb",
    "new bytes past the payload": b"\x05\x03\xaa\xbb",
    "an unchanged run of 15 bits": b"\x80\x80\x01\xaa",
    "a new run of 15 bits": b"\x00\x80\x80\x01\xaa",
    "only an unchanged run": twins.put_uleb(4096),
}


@pytest.mark.parametrize("what", ERRORS)
def test_every_error_of_the_loader(what: str) -> None:
    with pytest.raises(BrokenPayload):
        decode_xbzrle(ERRORS[what], ZERO)
    result, page = apply(ERRORS[what], ZERO)
    assert result > 0
    assert not any(page[5:]) or what == "an empty unchanged run inside"


def test_what_the_loader_accepts_at_the_edges() -> None:
    for payload in (b"", b"\x00" + twins.put_uleb(4096) + b"\x11" * 4096, twins.put_uleb(4095) + b"\x01\x22"):
        assert apply(payload, ZERO) == (0, decode_xbzrle(payload, ZERO))

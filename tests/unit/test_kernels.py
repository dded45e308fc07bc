"""The intrinsics against Python integers, and which machine code a kernel runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagethrift.kernels import copy_bytes, kernel, load64, load64_be, machine_code, mul_add_128, store64_be
from pagethrift.model.pages import U8, U64

word = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63, 2**64 - 1])


@kernel
def _load(data: U8, at: int, out: U64) -> None:
    out[0] = load64(data, at)
    out[1] = load64_be(data, at)


@kernel
def _store(data: U8, at: int, value: U64) -> None:
    store64_be(data, at, value[0])


@kernel
def _copy(target: U8, to: int, origin: U8, start: int, count: int) -> None:
    copy_bytes(target, to, origin, start, count)


@kernel
def _multiply(values: U64, out: U64) -> None:
    out[0], out[1] = mul_add_128(values[0], values[1], values[2], values[3])


@settings(max_examples=60, deadline=None)
@given(data=st.binary(min_size=16, max_size=16), at=st.integers(0, 8))
def test_words_are_read_at_any_alignment(data: bytes, at: int) -> None:
    out = np.zeros(2, np.uint64)
    _load(np.frombuffer(bytearray(data), np.uint8), at, out)
    assert int(out[0]) == int.from_bytes(data[at : at + 8], "little")
    assert int(out[1]) == int.from_bytes(data[at : at + 8], "big")


@settings(max_examples=60, deadline=None)
@given(value=word, at=st.integers(0, 8))
def test_words_are_written_at_any_alignment(value: int, at: int) -> None:
    data = np.full(16, 0xEE, np.uint8)
    _store(data, at, np.array([value], np.uint64))
    assert data.tobytes() == b"\xee" * at + value.to_bytes(8, "big") + b"\xee" * (8 - at)


@settings(max_examples=60, deadline=None)
@given(origin=st.binary(min_size=64, max_size=64), cut=st.tuples(*[st.integers(0, 32)] * 3))
def test_bytes_are_copied_and_no_others(origin: bytes, cut: tuple[int, int, int]) -> None:
    to, start, count = cut
    target = np.full(64, 0xEE, np.uint8)
    _copy(target, to, np.frombuffer(bytearray(origin), np.uint8), start, count)
    expected = bytearray(b"\xee" * 64)
    expected[to : to + count] = origin[start : start + count]
    assert target.tobytes() == expected


@settings(max_examples=100, deadline=None)
@given(values=st.lists(word, min_size=4, max_size=4))
def test_multiply_and_add_carries_into_the_high_word(values: list[int]) -> None:
    low, high, a, b = values
    out = np.zeros(2, np.uint64)
    _multiply(np.array(values, np.uint64), out)
    expected = (low + (high << 64) + a * b) % 2**128
    assert int(out[0]) + (int(out[1]) << 64) == expected


@pytest.mark.slow
def test_without_a_folder_to_keep_them_kernels_are_compiled_each_time(tmp_path: Path) -> None:
    """A user without a home and with a read-only installation."""
    code = "import numpy; from pagethrift.stream.xbzrle import put_uleb\n"
    code += "print(put_uleb(numpy.zeros(4, numpy.uint8), 1, 300))"
    package = machine_code.PACKAGE
    copy = tmp_path / "pagethrift"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "file").write_text("")
    (copy / "__pycache__").write_text("")  # where a folder cannot be made
    env = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    env |= {"PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "file"), "HOME": "/nonexistent"}
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout == "3\n", done.stderr

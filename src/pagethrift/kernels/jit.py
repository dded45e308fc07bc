"""Compiling kernels with Numba, and operations that Numba lacks.

Only ``kernels`` imports this file, and only when a kernel has to be compiled: Numba and LLVM take
half a second and 66 MiB.

Unaligned words, bulk copies and 64 x 64 -> 128 bit products compile to one machine
instruction each on x86-64; on another architecture LLVM picks its own.
"""

from __future__ import annotations

from typing import Any, cast

import numba
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils as _cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic as _intrinsic

cgutils: Any = _cgutils
intrinsic: Any = _intrinsic
uint64_pair: Any = cast(Any, types).UniTuple(types.uint64, 2)


def compile_kernel(function: Any, folder: str | None) -> Any:
    """Compile a function over arrays: GIL released, no bounds checks, cached if ``folder`` is given."""
    cast(Any, numba.config).CACHE_DIR = folder or ""
    return njit(cache=folder is not None, nogil=True, boundscheck=False)(function)


def type_of_intrinsic(name: str) -> Any:
    """Return Numba's type of an intrinsic of this file."""
    return cast(Any, cpu_target).typing_context.resolve_value_type(globals()[name])


def _byte_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return cgutils.gep_inbounds(builder, data, index)


@intrinsic
def load64(typing_context: Any, array: Any, index: Any) -> Any:
    """Return the little-endian 64-bit word at ``array[index:index + 8]``, aligned or not."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _byte_pointer(context, builder, signature.args[0], args[0], args[1])
        word = builder.bitcast(pointer, ir.IntType(64).as_pointer())
        return builder.load(word, align=1)

    return types.uint64(array, types.int64), codegen


@intrinsic
def load64_be(typing_context: Any, array: Any, index: Any) -> Any:
    """Return the big-endian 64-bit word at ``array[index:index + 8]``, aligned or not."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _byte_pointer(context, builder, signature.args[0], args[0], args[1])
        word = builder.bitcast(pointer, ir.IntType(64).as_pointer())
        return builder.bswap(builder.load(word, align=1))

    return types.uint64(array, types.int64), codegen


@intrinsic
def store64_be(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Write ``value`` as a big-endian 64-bit word at ``array[index:index + 8]``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _byte_pointer(context, builder, signature.args[0], args[0], args[1])
        word = builder.bitcast(pointer, ir.IntType(64).as_pointer())
        builder.store(builder.bswap(args[2]), word, align=1)
        return context.get_dummy_value()

    return types.none(array, types.int64, types.uint64), codegen


@intrinsic
def copy_bytes(typing_context: Any, target: Any, to: Any, origin: Any, start: Any, count: Any) -> Any:
    """Copy ``count`` bytes between uint8 arrays that do not overlap (memcpy)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        into = _byte_pointer(context, builder, signature.args[0], args[0], args[1])
        out_of = _byte_pointer(context, builder, signature.args[2], args[2], args[3])
        cgutils.raw_memcpy(builder, into, out_of, args[4], 1)
        return context.get_dummy_value()

    return types.none(target, types.int64, origin, types.int64, types.int64), codegen


@intrinsic
def mul_add_128(typing_context: Any, low: Any, high: Any, a: Any, b: Any) -> Any:
    """Return (high:low) + a * b modulo 2^128 as the pair (low, high) of uint64."""
    pair = uint64_pair

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        narrow = ir.IntType(64)
        shift = ir.Constant(wide, 64)
        total = builder.or_(builder.zext(args[0], wide), builder.shl(builder.zext(args[1], wide), shift))
        product = builder.mul(builder.zext(args[2], wide), builder.zext(args[3], wide))
        total = builder.add(total, product)
        low_out = builder.trunc(total, narrow)
        high_out = builder.trunc(builder.lshr(total, shift), narrow)
        return context.make_tuple(builder, pair, (low_out, high_out))

    return pair(types.uint64, types.uint64, types.uint64, types.uint64), codegen

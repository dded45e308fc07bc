"""``python -m pagethrift.build``: compiles the data path's kernels into an extension module.

Numba compiles every kernel for the types the data path calls it with; LLVM emits the optimised code
once more, as position-independent object code for this processor; the C compiler adds a
function for each that takes Python's arguments, releases the GIL and calls it, and links all into
one module that Python loads without Numba. Needs a C compiler and Python's headers. What it cannot
build, Numba compiles when it is called. ``kernels.machine_code`` says when the module is used.
With ``--portable FOLDER`` the code is for any processor of a level: ``hatch_build.py`` puts it into a wheel.

Numba's own ``pycc`` is deprecated, and its functions keep the GIL.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, cast

import numba
import numpy as np
from llvmlite import binding
from numba import njit, typeof, types
from numba.core.registry import cpu_target

from pagethrift import kernels
from pagethrift.engine.warmup import warm_up
from pagethrift.kernels import machine_code

NPY_TYPES = {
    types.uint8: "NPY_UINT8", types.int32: "NPY_INT32", types.uint32: "NPY_UINT32",
    types.int64: "NPY_INT64", types.uint64: "NPY_UINT64",
}  # fmt: skip
RESULTS = {types.int64: ("int64_t", "PyLong_FromLongLong"), types.boolean: ("uint8_t", "PyBool_FromLong")}

# Numba passes an array as: owner (none: it is borrowed), items, bytes of an item, data, shape, strides.
# Its functions return 0 or an error status; kernels raise nothing.
HEAD = """
#define PY_SSIZE_T_CLEAN
#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#include <Python.h>
#include <numpy/arrayobject.h>

#define A(i) ((PyArrayObject *)a[i])
#define ARRAY(i) NULL, NULL, PyArray_SIZE(A(i)), PyArray_ITEMSIZE(A(i)), PyArray_DATA(A(i))
#define ARRAY1(i) ARRAY(i), PyArray_DIM(A(i), 0), PyArray_STRIDE(A(i), 0)
#define ARRAY2(i) ARRAY(i), PyArray_DIM(A(i), 0), PyArray_DIM(A(i), 1), \\
    PyArray_STRIDE(A(i), 0), PyArray_STRIDE(A(i), 1)
#define TYPE1 void *, void *, int64_t, int64_t, void *, int64_t, int64_t
#define TYPE2 TYPE1, int64_t, int64_t

static int is_array(PyObject *o, int type, int dimensions)
{
    return PyArray_CheckExact(o) && PyArray_TYPE((PyArrayObject *)o) == type
        && PyArray_NDIM((PyArrayObject *)o) == dimensions && PyArray_ISCARRAY((PyArrayObject *)o);
}

static int is_int64(PyObject *o, int64_t *value)
{
    int overflow = 1;
    if (PyLong_CheckExact(o))
        *value = PyLong_AsLongLongAndOverflow(o, &overflow);
    return !overflow;
}

/* Numba's reference counting refers to this function; an array without an owner never calls it. */
void NRT_MemInfo_call_dtor(void *info) { abort(); }
"""

FUNCTION = """
extern int32_t {symbol}_code(void *, void **, {types});
static PyObject *{symbol}(PyObject *self, PyObject *const *a, Py_ssize_t n)
{{
    struct {{ {fields} }} result;
    int64_t v[{count}];
    void *error = NULL;
    int32_t status;
    (void)v;
    if (n != {count} || {mismatch})
        Py_RETURN_NOTIMPLEMENTED;
    Py_BEGIN_ALLOW_THREADS
    status = {symbol}_code(&result, &error, {values});
    Py_END_ALLOW_THREADS
    if (status)
        return PyErr_Format(PyExc_RuntimeError, "{symbol}: status %d", status);
    return {value};
}}
"""

METHOD = '{{"{symbol}", (PyCFunction)(void (*)(void)){symbol}, METH_FASTCALL}},'

TAIL = """
static PyMethodDef methods[] = {{ {methods} {{NULL}} }};
static struct PyModuleDef module = {{ PyModuleDef_HEAD_INIT, "{module}", NULL, -1, methods }};
PyMODINIT_FUNC PyInit_{module}(void) {{ import_array(); return PyModule_Create(&module); }}
"""


def _result(kind: Any) -> tuple[str, str] | None:
    """Return (fields of the struct Numba writes, the expression for Python); None if not supported."""
    if kind == types.none:
        return "void *none;", "Py_NewRef(Py_None)"
    is_tuple = isinstance(kind, cast(Any, types).BaseTuple)
    parts = list(kind) if is_tuple else [kind]
    if any(part not in RESULTS for part in parts):
        return None
    fields = " ".join(f"{RESULTS[part][0]} r{i};" for i, part in enumerate(parts))
    values = [f"{RESULTS[part][1]}(result.r{i})" for i, part in enumerate(parts)]
    if not is_tuple:
        return fields, values[0]
    return fields, f'Py_BuildValue("({"N" * len(values)})", {", ".join(values)})'


def wrapper(symbol: str, arguments: tuple[Any, ...], returns: Any) -> str | None:
    """Return the C function that calls a kernel; None for types that are not supported."""
    result = _result(returns)
    tests, kinds, values = [], [], []
    for i, kind in enumerate(arguments):
        if kind == types.int64:
            tests.append(f"!is_int64(a[{i}], &v[{i}])")
            kinds.append("int64_t")
            values.append(f"v[{i}]")
        elif (
            isinstance(kind, types.Array) and kind.dtype in NPY_TYPES and kind.ndim in (1, 2)
            and kind.layout == "C" and kind.mutable and kind.aligned
        ):  # fmt: skip
            tests.append(f"!is_array(a[{i}], {NPY_TYPES[kind.dtype]}, {kind.ndim})")
            kinds.append(f"TYPE{kind.ndim}")
            values.append(f"ARRAY{kind.ndim}({i})")
        else:
            return None
    if result is None:
        return None
    return FUNCTION.format(
        symbol=symbol, count=len(arguments), fields=result[0], value=result[1],
        types=", ".join(kinds), mismatch=" || ".join(tests), values=", ".join(values),
    )  # fmt: skip


def _object_code(machine: Any, kernel: kernels.Kernel, signature: Any) -> bytes:
    """Compile a kernel without Numba's own entry points, and emit it under our own name."""
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False}
    alone = cast(Any, njit)(nogil=True, boundscheck=False, **options)(kernel.py_func)
    alone.compile(signature)
    module = binding.parse_assembly(alone.inspect_llvm(signature))
    name = alone.overloads[signature].fndesc.llvm_func_name
    module.get_function(name).name = f"{kernel.symbol}_code"
    return cast(bytes, machine.emit_object(module))


def _called_by_warm_up() -> dict[kernels.Kernel, tuple[Any, ...]]:
    """Return the kernels that Python calls in the data path, with the types of the first call of each.

    The compiled kernels do not tell: Numba's cache may hold a caller without the kernels that it calls.
    """
    called: dict[kernels.Kernel, tuple[Any, ...]] = {}

    def note(kernel: kernels.Kernel, *arguments: Any) -> Any:
        called.setdefault(kernel, tuple(map(cast(Any, typeof), arguments)))
        return NotImplemented

    for kernel in kernels.KERNELS:
        kernel.built = partial(note, kernel)
    warm_up()
    for kernel in kernels.KERNELS:
        kernel.built = None
    return called


def build(path: Path) -> int:
    """Write the extension module to ``path``; return how many kernels are in it."""
    called = _called_by_warm_up()
    triple, processor, features = cast(Any, cpu_target).target_context.codegen().magic_tuple()
    machine = binding.Target.from_triple(triple).create_target_machine(
        cpu=processor, features=features, opt=3, reloc="pic", codemodel="default"
    )
    source, methods = HEAD, []
    with tempfile.TemporaryDirectory(prefix="build-", dir=path.parent) as name:
        folder = Path(name)
        for kernel, signature in called.items():
            returns = kernel.dispatcher.overloads[signature].signature.return_type
            text = wrapper(kernel.symbol, signature, returns)
            if text is None:
                continue
            source += text
            methods.append(METHOD.format(symbol=kernel.symbol))
            (folder / f"{kernel.symbol}.o").write_bytes(_object_code(machine, kernel, signature))
        source += TAIL.format(methods=" ".join(methods), module=machine_code.EXTENSION_NAME)
        (folder / "module.c").write_text(source)
        subprocess.run(
            [
                *shlex.split(sysconfig.get_config_var("CC") or "cc"), "-O2", "-fPIC", "-shared", "-Wl,-z,now",
                f"-I{sysconfig.get_path('include')}", f"-I{np.get_include()}",
                folder / "module.c", *sorted(folder.glob("*.o")), "-o", folder / "module.so",
            ],
            check=True,
        )  # fmt: skip
        if machine_code.load_extension(folder / "module.so") is None:
            raise OSError("the extension that was built cannot be loaded")
        with (folder / "module.so").open("rb") as file:
            os.fsync(file.fileno())  # half a file after a power failure would kill the process that loads it
        (folder / "module.so").replace(path)
    return len(methods)


def _compile_for_portable() -> None:
    """Let Numba and LLVM compile for ``machine_code.PORTABLE`` and not for this processor."""
    config = cast(Any, numba.config)
    config.CPU_NAME = machine_code.PORTABLE
    config.CPU_FEATURES = ",".join(f"+{name}" for name in sorted(machine_code.PORTABLE_FEATURES.values()))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Exit code 1: nothing was built, Numba compiles kernels as they are called."""
    parser = argparse.ArgumentParser(prog="python -m pagethrift.build", description="Compile the kernels.")
    parser.add_argument(
        "--portable", metavar="FOLDER", type=Path,
        help=f"write into this folder an extension for every {machine_code.PORTABLE} processor",
    )  # fmt: skip
    folder = parser.parse_args(arguments).portable
    if folder is None:
        path = machine_code.extension_path()
    else:
        if os.uname().machine != "x86_64":
            sys.exit(f"build: --portable compiles for x86_64 only, this is {os.uname().machine}")
        _compile_for_portable()
        path = folder / machine_code.portable_name()
    try:
        if path is None:
            raise OSError("no folder is writable")
        print(f"{build(path)} kernels in {path}")
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"build: kernels are not built ({error}); a relay starts slower and takes 120 MiB more")


if __name__ == "__main__":
    main()

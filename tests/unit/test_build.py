"""The kernels that set-up builds: the same bytes without Numba, and Numba wherever they do not fit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numba import types

from pagethrift.build import wrapper
from pagethrift.kernels import Kernel, machine_code
from pagethrift.stream.packets import cut_offsets
from pagethrift.stream.synthetic import StreamBuilder
from pagethrift.stream.writer import PAGE_ROOM, ZERO_ROOM, room_bytes

pytestmark = pytest.mark.slow

SAME_BYTES = """
import hashlib, sys
from pagethrift.strategies.table import TABLE
from tests.multifd import Scene, random_migration
from tests.streams import chaos, random_stream, thin_in_pieces

digest = hashlib.sha256()
live = [make for make in TABLE.values() if not make().refuses_live]
for seed in range(4):
    for make in (*live, lambda: chaos(seed)):
        digest.update(thin_in_pieces(random_stream(seed), make(), seed)[0])
        digest.update(Scene(random_migration(seed), make(), seed).run())
print(digest.hexdigest(), *sorted({"numba", "llvmlite", "scipy"} & set(sys.modules)))
"""

WHICH = """
import numpy
from pagethrift.kernels import Kernel, machine_code
from pagethrift.stream.xbzrle import put_uleb
print(machine_code.extension() is not None, put_uleb(numpy.zeros(4, numpy.uint8), 1, 300))
"""


OFFSETS = np.frombuffer(np.array([3 << 12, 0, 0], ">u8").tobytes(), np.uint8)
"""of the pages 3, 0 and again 0 of a block, as a multifd packet has them"""


@pytest.fixture(scope="module")
def path() -> Path:
    """The extension of these sources; built if set-up has not."""
    path = machine_code.extension_path()
    assert path is not None
    if not path.is_file():
        subprocess.run([sys.executable, "-m", "pagethrift.build"], check=True)
    return path


@pytest.fixture(scope="module")
def extension(path: Path) -> Any:
    return machine_code.load_extension(path)


def run(code: str, **more: str) -> list[str]:
    env = {name: value for name, value in os.environ.items() if name != machine_code.ONLY_JIT} | more
    command = [sys.executable, "-B", "-c", code]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.split()


def test_the_same_bytes_with_numba_and_without(path: Path) -> None:
    """Every live strategy and chaos, plain and multifd: no kernel they call is missing."""
    built, compiled = run(SAME_BYTES), run(SAME_BYTES, **{machine_code.ONLY_JIT: "1"})
    assert built == compiled[:1]
    assert "numba" in compiled


@pytest.mark.parametrize("command", ["thin", "relay"])
def test_commands_start_without_numba(command: str, path: Path, tmp_path: Path) -> None:
    arguments = ["--listen", f"unix:{tmp_path}/relay", "--connect", "127.0.0.1:9"] * (command == "relay")
    builder = StreamBuilder([("pc.ram", 64)])
    builder.begin_body()
    for page in range(64):
        builder.page(0, page, os.urandom(4096))
    builder.end_body()
    with subprocess.Popen(
        [sys.executable, "-m", "pagethrift", command, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        if command == "thin":
            process.stdin.write(b"".join(map(bytes, builder.parts)))
            process.stdin.flush()
        # thin: past the warm-up and the head of the stream; the relay says that it listens.
        (process.stdout if command == "thin" else process.stderr).read(1)
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        process.kill()
    assert path.name in maps
    assert "libllvmlite" not in maps


def test_what_is_missing_stale_or_broken_is_compiled(path: Path, tmp_path: Path) -> None:
    package = tmp_path / "pagethrift"
    shutil.copytree(machine_code.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    cache = tmp_path / "cache"
    cache.mkdir()
    env = {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(cache)}
    assert run(WHICH, **env) == ["False", "3"]
    shutil.copy(path, cache)
    assert run(WHICH, **env) == ["True", "3"]
    assert run(WHICH, **env, **{machine_code.ONLY_JIT: "1"}) == ["False", "3"]
    (cache / path.name).write_text("not a library")
    assert run(WHICH, **env) == ["False", "3"]
    shutil.copy(path, cache)
    with (package / "stream" / "records.py").open("a") as file:
        file.write("# another version\n")
    assert run(WHICH, **env) == ["False", "3"]


def test_processors_differ_by_features_not_by_what_changes_all_the_time() -> None:
    text = "processor\t: 0\nmodel name\t: EPYC\ncpu MHz\t\t: {}\nflags\t\t: fpu {}\n\nprocessor\t: 1\n{}"
    name = machine_code.processor(text.format(2450.0, "avx2 avx512f", ""))
    assert name == machine_code.processor(text.format(3100.0, "avx2 avx512f", "flags\t: other"))
    assert name != machine_code.processor(text.format(2450.0, "avx2", ""))


def test_arguments_of_other_types_are_left_to_numba(extension: Any) -> None:
    room = extension.pagethrift_stream_writer_room_bytes
    kinds = np.array([0, 1, 1, 0, 0, 2], np.uint8)
    lengths = np.array([1, 4096, 4096, 1, 1, 9], np.int32)
    assert room(kinds[:4], lengths[:4]) == 2 * (PAGE_ROOM + ZERO_ROOM)
    frozen, shifted = kinds.copy(), np.frombuffer(bytearray(17), np.int64, 2, 1)
    frozen.flags.writeable = False
    for other in (kinds[::2], frozen, kinds.astype(np.int8), kinds.reshape(2, 3), bytes(kinds), None):
        assert room(other, lengths) is NotImplemented
    assert room() is NotImplemented
    assert room(kinds) is NotImplemented
    assert room(kinds, kinds) is NotImplemented
    cut = extension.pagethrift_stream_packets_cut_offsets
    offsets, pages, seen = OFFSETS.copy(), np.zeros(3, np.int64), np.zeros(8, np.int64)
    assert cut(offsets, 0, 2, 5, 9, pages, seen) == (2, False)
    assert pages.tolist() == [8, 5, 0]
    assert cut(offsets, 0, 3, 5, 9, pages, seen) == (2, True)
    assert cut(offsets, 0, 0, -(2**63), 9, pages, seen) == (0, False)
    for at in (2**63, 7.0, True, np.uint64(7), "7"):
        assert cut(offsets, at, 2, 5, 9, pages, seen) is NotImplemented
    assert cut(offsets, 0, 1, 5, 9, pages, shifted) is NotImplemented


def test_a_kernel_takes_them_all_the_same(extension: Any) -> None:
    calls: list[tuple[Any, tuple[Any, ...], Any]] = [
        (room_bytes, (np.array([1, 2, 0, 2], np.uint8)[::2], np.ones(2, np.int32)), PAGE_ROOM + ZERO_ROOM),
        (
            cut_offsets,
            (OFFSETS, np.uint32(0), 3, 5, 9, np.zeros(3, np.int64), np.zeros(8, np.int64)),
            (2, True),
        ),
    ]
    for function, arguments, result in calls:
        kernel = Kernel(function.py_func)
        kernel.built = getattr(extension, kernel.symbol)
        assert kernel.built(*arguments) is NotImplemented
        assert kernel(*arguments) == result


def test_other_threads_run_meanwhile(extension: Any) -> None:
    pages = np.zeros(20_000_000, np.int64)
    before, arrivals, totals = np.zeros(len(pages), np.uint8), np.zeros(1, np.uint8), np.zeros(12, np.int64)
    took_s = []

    def count() -> None:
        began_s = time.perf_counter()
        extension.pagethrift_engine_counters__arrive(pages, arrivals, before, totals)
        took_s.append(time.perf_counter() - began_s)

    for _ in range(10):  # a busy machine may stop us for as long as the GIL would
        thread = threading.Thread(target=count)
        last_s, longest_s = time.perf_counter(), 0.0
        thread.start()
        while thread.is_alive():
            now_s = time.perf_counter()
            longest_s, last_s = max(longest_s, now_s - last_s), now_s
        if longest_s < took_s[-1] / 2:
            return
    pytest.fail(f"stopped for {longest_s} s of {took_s[-1]}")


def test_types_without_words_in_c_are_not_built() -> None:
    assert wrapper("f", (types.int64, types.Array(types.uint8, 2, "C")), types.none) is not None
    for kind in (
        types.uint8, types.float64, types.Array(types.uint8, 1, "A"), types.Array(types.uint8, 3, "C"),
        types.Array(types.float64, 1, "C"), types.Array(types.uint8, 1, "C", readonly=True),
    ):  # fmt: skip
        assert wrapper("f", (kind,), types.none) is None
    assert wrapper("f", (types.int64,), types.float64) is None
    assert wrapper("f", (types.int64,), cast(Any, types).Tuple((types.int64, types.uint8))) is None


V3 = "fma sse4_1 sse4_2 ssse3 pni cx16 lahf_lm abm movbe popcnt bmi1 bmi2 avx avx2 f16c xsave"


def test_portable_code_is_for_processors_with_all_its_features() -> None:
    text = "processor\t: 0\nflags\t\t: fpu {}\n\nprocessor\t: 1\nflags\t\t: {}\n"
    assert machine_code.is_portable(text.format(V3, ""), "x86_64")
    assert not machine_code.is_portable(text.format(V3, ""), "aarch64")
    assert not machine_code.is_portable(text.format("", V3), "x86_64")
    assert not machine_code.is_portable("", "x86_64")
    for flag in V3.split():
        assert not machine_code.is_portable(text.format(V3.replace(flag, "other", 1), ""), "x86_64"), flag


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package as a wheel with kernels has it."""
    folder = tmp_path_factory.mktemp("portable")
    copy = folder / "pagethrift"
    shutil.copytree(machine_code.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "_kernels").mkdir()
    subprocess.run([sys.executable, "-m", "pagethrift.build", "--portable", copy / "_kernels"], check=True)
    return copy


USED = """
from pagethrift.kernels import machine_code
print(machine_code.extension() and machine_code.extension().__spec__.origin)
"""


@pytest.mark.skipif(
    not machine_code.is_portable(machine_code._cpuinfo(), os.uname().machine), reason="an old processor"
)
def test_a_wheels_kernels_are_used_where_none_were_built_here(
    package: Path, path: Path, tmp_path: Path
) -> None:
    env = {"PYTHONPATH": f"{package.parent}{os.pathsep}{Path.cwd()}", "NUMBA_CACHE_DIR": str(tmp_path)}
    (portable,) = (package / "_kernels").iterdir()
    assert run(USED, **env) == [str(portable)]
    assert run(SAME_BYTES, **env) == run(SAME_BYTES)
    assert run(USED, **env, **{machine_code.ONLY_JIT: "1"}) == ["None"]
    shutil.copy(path, tmp_path)
    assert run(USED, **env) == [str(tmp_path / path.name)]
    (tmp_path / path.name).write_text("not a library")
    assert run(USED, **env) == [str(portable)]


def test_a_wheels_kernels_have_no_instruction_of_later_processors(package: Path) -> None:
    if shutil.which("objdump") is None:
        pytest.skip("NO objdump: what instructions a wheel's kernels have is not tested")
    (portable,) = (package / "_kernels").iterdir()
    code = subprocess.run(["objdump", "-d", portable], check=True, capture_output=True, text=True).stdout
    assert "%ymm" in code
    assert not {"%zmm0", "%k1", "%ymm16", "%xmm16"} & set(code.replace("{", " ").replace(",", " ").split())

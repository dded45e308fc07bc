"""The tiny guest dirties memory as it claims, and plain QEMU migrates it exactly."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.qemu.machines import QemuLike, begin, destination, differing_pages, migrate, source
from tests.qemu.tiny import (
    MIB,
    PAGE_BYTES,
    SOURCE_FILE,
    STATUS,
    Pattern,
    Region,
    TinyGuest,
    code,
    content,
    mixed,
)

START = 4 * MIB
PAGES = 48
CHANGING = [Pattern.FLIP, Pattern.COUNTER, Pattern.RANDOM_WORDS, Pattern.RANDOM_PAGES, Pattern.ZEROING]


def words_of(region: Region, ram: bytes) -> npt.NDArray[np.uint64]:
    return np.frombuffer(region.cut(ram), np.uint64).reshape(region.pages, -1)


def after_sweeps(binary: QemuLike, region: Region, sweeps: int, directory: Path) -> npt.NDArray[np.uint64]:
    """Run a fresh guest for exactly ``sweeps`` sweeps and return the region: (pages, 512)."""
    guest = TinyGuest((region,), sweeps=sweeps)
    with source(binary, guest, directory) as machine:
        machine.wait_sweeps(sweeps)
        return words_of(region, machine.dump_ram())


def random_states(seed: int, count: int) -> list[int]:
    """The guest's xorshift64, in Python."""
    states, state, mask = [], seed, (1 << 64) - 1
    for _ in range(count):
        state ^= (state << 13) & mask
        state ^= state >> 7
        state ^= (state << 17) & mask
        states.append(state)
    return states


def test_code_is_what_the_source_assembles_to(tmp_path: Path) -> None:
    if not (shutil.which("as") and shutil.which("objcopy")):
        pytest.skip("binutils (as, objcopy) are not installed")
    built, binary = tmp_path / "guest.o", tmp_path / "guest.bin"
    subprocess.run(["as", "--64", str(SOURCE_FILE), "-o", str(built)], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", str(built), str(binary)], check=True)
    assert binary.read_bytes().rstrip(b"\0") == code()


def test_hot_loop_uses_no_stack() -> None:
    source_text = SOURCE_FILE.read_text(encoding="ascii")
    lines = [line.split("#")[0].split() for line in source_text.splitlines()]
    used = {line[0].rstrip(":") for line in lines if line}
    assert not {name for name in used if name.startswith(("push", "pop", "call", "ret", "enter", "leave"))}


@pytest.mark.parametrize(
    "region",
    [
        Region(Pattern.FLIP, MIB, 4),
        Region(Pattern.FLIP, 4 * MIB + 1, 4),
        Region(Pattern.FLIP, 1 << 30, 1),
        Region(Pattern.FLIP, 4 * MIB, 4, words=513),
        Region(Pattern.RANDOM_WORDS, 4 * MIB, 4, writes=0),
    ],
)
def test_impossible_regions_are_refused(region: Region) -> None:
    with pytest.raises(ValueError, match="region"):
        TinyGuest((region,)).image()


def test_flip_alternates_between_two_contents(qemu_binary: QemuLike, short_path: Path) -> None:
    region = Region(Pattern.FLIP, START, PAGES)
    first = after_sweeps(qemu_binary, region, 1, short_path)
    second = after_sweeps(qemu_binary, region, 2, short_path)
    third = after_sweeps(qemu_binary, region, 3, short_path)
    np.testing.assert_array_equal(first, content(START, PAGES, 1))
    np.testing.assert_array_equal(second, content(START, PAGES, 2))
    np.testing.assert_array_equal(third, first)


def test_flip_can_leave_most_of_a_page_alone(qemu_binary: QemuLike, short_path: Path) -> None:
    region = Region(Pattern.FLIP, START, PAGES, words=10)
    pages = after_sweeps(qemu_binary, region, 2, short_path)
    np.testing.assert_array_equal(pages[:, :10], content(START, PAGES, 2, 10))
    np.testing.assert_array_equal(pages[:, 10:], content(START, PAGES, 3)[:, 10:])


def test_counter_adds_one_per_sweep(qemu_binary: QemuLike, short_path: Path) -> None:
    region = Region(Pattern.COUNTER, START, PAGES, fill=False)
    pages = after_sweeps(qemu_binary, region, 5, short_path)
    expected = np.zeros_like(pages)
    index = np.arange(PAGES)
    expected[index, (START // PAGE_BYTES + index) % 512] = 5
    np.testing.assert_array_equal(pages, expected)


def test_random_words_follow_the_generator(qemu_binary: QemuLike, short_path: Path) -> None:
    region = Region(Pattern.RANDOM_WORDS, START, PAGES, writes=100)
    pages = after_sweeps(qemu_binary, region, 3, short_path)
    expected = content(START, PAGES, 3).reshape(-1)
    for state in random_states(TinyGuest(()).seed, 300):
        expected[state * len(expected) >> 64] = state
    np.testing.assert_array_equal(pages.reshape(-1), expected)


def test_random_pages_rewrites_whole_pages(qemu_binary: QemuLike, short_path: Path) -> None:
    region = Region(Pattern.RANDOM_PAGES, START, PAGES, writes=12)
    pages = after_sweeps(qemu_binary, region, 2, short_path)
    hit = {state * PAGES >> 64 for state in random_states(TinyGuest(()).seed, 24)}
    changed = pages != content(START, PAGES, 3)
    assert set(np.flatnonzero(changed.any(axis=1)).tolist()) == hit
    assert changed[sorted(hit)].all()


def test_zeroing_alternates_with_its_neighbours(qemu_binary: QemuLike, short_path: Path) -> None:
    region = Region(Pattern.ZEROING, START, PAGES)
    first = after_sweeps(qemu_binary, region, 1, short_path)
    second = after_sweeps(qemu_binary, region, 2, short_path)
    full = content(START, PAGES, 1)
    assert not first[1::2].any()
    assert not second[0::2].any()
    np.testing.assert_array_equal(first[0::2], full[0::2])
    np.testing.assert_array_equal(second[1::2], full[1::2])


def test_silent_and_static_never_change(qemu_binary: QemuLike, short_path: Path) -> None:
    for pattern in (Pattern.SILENT, Pattern.STATIC):
        pages = after_sweeps(qemu_binary, Region(pattern, START, PAGES), 3, short_path)
        np.testing.assert_array_equal(pages, content(START, PAGES, 3))


def test_running_guest_changes_only_what_it_says(qemu_binary: QemuLike, short_path: Path) -> None:
    guest = mixed(region_pages=PAGES, writes_per_s=4000)
    inside = range(guest.regions[0].start, guest.regions[-1].stop)
    changed: set[Pattern] = set()
    with source(qemu_binary, guest, short_path) as machine:
        machine.wait_sweeps(2)
        before = machine.stopped_ram()
        # a dump just two sweeps later finds every flipped page as it was: look several times
        for _ in range(8):
            machine.wait_sweeps(machine.sweeps() + 1)
            after = machine.stopped_ram()
            changed |= {region.pattern for region in guest.regions if region.cut(before) != region.cut(after)}
            outside = [page for page in differing_pages(before, after) if page not in inside]
            assert outside == [STATUS]
    assert changed == set(CHANGING)


@pytest.mark.parametrize("pattern", [Pattern.SILENT, *CHANGING, Pattern.STATIC])
def test_qemu_sends_what_the_pattern_dirties(
    qemu_binary: QemuLike, short_path: Path, pattern: Pattern
) -> None:
    """QEMU's own count of non-zero pages sent, in rounds that cannot end on their own."""
    region = Region(pattern, START, 256, writes=256)
    guest = TinyGuest((region,), publish=False)
    with source(qemu_binary, guest, short_path, ram_bytes=32 * MIB) as machine:
        machine.wait_ready()
        slow = {"max-bandwidth": 8_000_000, "downtime-limit": 1}
        begin(machine, None, short_path, to="exec:cat >/dev/null", parameters=slow)
        deadline_s = time.monotonic() + 20
        while True:
            info = machine.qmp.execute("query-migrate")
            rounds = info.get("ram", {}).get("dirty-sync-count", 0)
            if rounds >= 4 or info["status"] == "completed" or time.monotonic() > deadline_s:
                break
            time.sleep(0.02)
    again = info["ram"]["normal"] + info["ram"]["duplicate"] - info["ram"]["total"] // PAGE_BYTES
    if pattern is Pattern.STATIC:
        assert info["status"] == "completed"
        assert again == 0
    else:
        assert again > 100, info


def test_pace_is_kept(qemu_binary: QemuLike, short_path: Path) -> None:
    guest = TinyGuest((Region(Pattern.COUNTER, START, 50),), writes_per_s=5000)
    with source(qemu_binary, guest, short_path) as machine:
        machine.wait_sweeps(5)
        began_s, sweeps = time.monotonic(), machine.sweeps()
        time.sleep(0.6)
        done, took_s = machine.sweeps() - sweeps, time.monotonic() - began_s
    assert 0.5 < done * 50 / took_s / 5000 < 1.3


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_plain_migration_ends_with_equal_ram(qemu_binary: QemuLike, short_path: Path, machine: str) -> None:
    guest = mixed(region_pages=200, writes_per_s=3000)
    with (
        source(qemu_binary, guest, short_path, machine, 128 * MIB) as a,
        destination(qemu_binary, guest, short_path, machine, 128 * MIB) as b,
    ):
        a.wait_sweeps(2)
        info = migrate(a, b, short_path, parameters={"max-bandwidth": 24_000_000, "downtime-limit": 50})
        assert info["ram"]["dirty-sync-count"] >= 2
        assert differing_pages(a.dump_ram(), b.dump_ram()) == []
        sweeps = b.sweeps()
        stopped_s = a.qmp.event("STOP").arrived_s
        b.qmp.execute("cont")
        assert b.qmp.event("RESUME").arrived_s > stopped_s
        b.wait_sweeps(sweeps + 1)

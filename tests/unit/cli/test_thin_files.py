"""``pagethrift thin``: standard input to standard output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from pagethrift.stream.image import image
from tests.unit.stream.pieces import PAGE, be64, page, part, start, whole

PBS = start(b"pbs-state", 9, be64(32) + bytes(range(32)))


def thin(stream: bytes, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "pagethrift", "thin", *options]
    return subprocess.run(command, input=stream, capture_output=True, check=False, timeout=120)


def test_a_section_of_proxmox_between_ram_and_its_first_page_costs_no_thinning() -> None:
    """It made a pipe of the relay: as many bytes came out as went in."""
    changed = bytes([1]) + PAGE[1:]
    again = b"".join(
        part(*(page(n, content=changed if n == round_ else PAGE) for n in range(8))) for round_ in range(8)
    )
    stream = whole(then=PBS + again)
    done = thin(stream)
    assert done.stderr == b""
    assert len(done.stdout) < len(stream) / 4
    assert PBS in done.stdout
    for block in ("pc.ram", "pc.bios"):
        assert (image(done.stdout).block(block) == image(stream).block(block)).all()


def test_what_is_no_stream_is_called_by_its_name() -> None:
    done = thin(b"\x28\xb5\x2f\xfd\x20\0")
    assert done.returncode == 3
    assert done.stdout == b""
    assert b"got a file compressed with zstd; unpack it: zstdcat FILE | pagethrift thin" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_counters_go_where_they_are_asked_to(tmp_path: Path) -> None:
    link, real = tmp_path / "link.json", tmp_path / "real.json"
    link.symlink_to(real)
    assert thin(whole(), "--stats", str(link)).returncode == 0
    assert link.is_symlink()
    assert json.loads(real.read_text())["in_bytes"] == len(whole())


def test_counters_that_cannot_be_written_are_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    done = thin(whole(), "--stats", str(tmp_path / "none/s.json"))
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"pagethrift: --stats ")


def test_an_output_that_nobody_reads_ends_it_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "pagethrift", "thin"]
    done = subprocess.run(command, input=whole(), stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")

"""``python -m scripts.bench.compress``: what a channel's compressor makes of pages, and how fast.

Pages are values of 1000 bytes with headers, as memcached lays them out, a part of each repeated text. They
are sent twice: the first time as new pages, the second time with one value in four replaced.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scripts.bench import machine, output
from scripts.bench.rounds import spread

from pagethrift.model.channels import ChannelSettings
from pagethrift.model.pages import PAGE_BYTES, U8, Block
from pagethrift.stream.encoding.packet import Packet, PacketEncoder
from pagethrift.stream.packets import PACKET_PAGES

VALUE_BYTES, PERIOD = 1000, 1024
TEXT = b"the quick brown fox jumps over the lazy dog; "
BASE = ChannelSettings()
SETTINGS = {
    "level 1, window 128 MiB, LDM": BASE,
    "level 1, window 1 MiB": replace(BASE, window_log=20, long_distance=False),
    "level 1, window 32 MiB, LDM": replace(BASE, window_log=25),
    "level 1, window 128 MiB": replace(BASE, long_distance=False),
    "level -5, window 128 MiB, LDM": replace(BASE, level=-5),
    "level 3, window 128 MiB, LDM": replace(BASE, level=3),
}


def pages(count: int, text_share: float, rng: np.random.Generator) -> U8:
    """Return pages full of values, shape (count, PAGE_BYTES)."""
    slots = rng.integers(0, 256, (count * PAGE_BYTES // PERIOD, PERIOD), np.uint8)
    text = (TEXT * (VALUE_BYTES // len(TEXT) + 1))[: int(VALUE_BYTES * text_share)]
    slots[:, PERIOD - len(text) :] = np.frombuffer(text, np.uint8)
    slots[:, : PERIOD - VALUE_BYTES] = 7
    return slots.reshape(count, PAGE_BYTES)


def changed(before: U8, text_share: float, rng: np.random.Generator) -> U8:
    """Return the same pages with one value in each replaced."""
    after, new = before.copy(), pages(len(before), text_share, rng)
    after[:, :PERIOD] = new[:, :PERIOD]
    return after


def send(encoder: PacketEncoder, content: U8) -> tuple[int, float]:
    """Return the bytes that pages take, and the CPU seconds."""
    packet, taken, spent_s = Packet(), 0, 0.0
    for start in range(0, len(content), PACKET_PAGES):
        some = content[start : start + PACKET_PAGES]
        packet.begin(Block(b"pc.ram", len(content) * PAGE_BYTES, 0))
        packet.data[: some.size], packet.count = some.reshape(-1), len(some)
        began_s = time.process_time()
        taken += sum(map(len, encoder.pages(packet)))
        spent_s += time.process_time() - began_s
    return taken, spent_s


def measure(rounds: int, mib: int, show: Callable[[str], None]) -> dict[str, Any]:
    """Return the result document."""
    measures: dict[str, dict[str, Any]] = {}
    for share in (0.0, 0.5):
        rng = np.random.default_rng(1)
        first = pages(mib * (1 << 20) // PAGE_BYTES, share, rng)
        second = changed(first, share, rng)
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in SETTINGS}
        for _ in range(rounds):
            for name, settings in SETTINGS.items():
                encoder = PacketEncoder(0, settings)
                new_bytes, new_s = send(encoder, first)
                again_bytes, _ = send(encoder, second)
                found[name].append(
                    (first.size / new_s / 1e6, 100 * new_bytes / first.size, 100 * again_bytes / first.size)
                )
        for name, figures in found.items():
            speed, new, again = (spread(list(values)) for values in zip(*figures, strict=True))
            measures[f"{share:.0%} text, {name}"] = {
                "mb_per_cpu_s": speed, "new_percent": new, "again_percent": again,
            }  # fmt: skip
            show(
                f"{share:4.0%} text, {name:30} {speed['median']:5.0f} MB/s"
                f" {new['median']:5.1f} % {again['median']:5.1f} %"
            )
    return {
        "kind": "pagethrift-bench-compress", "version": 1, "machine": machine.facts(),
        "load": machine.load(), "mib": mib, "measures": measures,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.compress", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/bench-compress.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=64, help="of pages, each sent twice")
    options = parser.parse_args(arguments)
    output.write_json(options.out, measure(options.rounds, options.mib, print))
    print(options.out)


if __name__ == "__main__":
    main()

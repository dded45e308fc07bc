"""A matrix file: a comparison of scenarios x modes, repeated, over one link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pagethrift.errors import UsageError
from pagethrift.given_file import named, read_toml
from pagethrift.lab.scenario import MOST_REPETITIONS, Scenario, parse_mode, parse_qemu, read_scenario
from pagethrift.toml_table import TomlTable
from pagethrift.units import parse_bandwidth, parse_seconds


def read_compared(path: Path) -> list[Scenario]:
    """Read a scenario file or a matrix, which names ``scenarios`` (files, relative to it).

    A matrix may set ``modes``, ``repetitions``, ``bandwidth`` and ``force_after`` in place of the scenarios';
    ``qemu`` names series, and every scenario runs with each series under its own name. Raises UsageError.
    """
    data = read_toml(path)
    if "scenarios" not in data:
        return [read_scenario(path)]
    with named(path):
        return _matrix(data, path.parent)


def _matrix(data: Mapping[str, Any], folder: Path) -> list[Scenario]:
    top = TomlTable(data)
    names = top.texts("scenarios", [])
    modes = tuple(map(parse_mode, top.texts("modes", [])))
    repetitions = top.count("repetitions", 0, 0, MOST_REPETITIONS)
    bandwidth_bps = top.quantity("bandwidth", parse_bandwidth, None)
    force_after_s = top.quantity("force_after", parse_seconds, None)
    series = [parse_qemu(text) for text in top.get("qemu", list, [])]
    top.refuse_rest()
    if not names:
        raise UsageError("scenarios must name at least one scenario file")
    chosen = []
    for name in names:
        one = read_scenario(folder / name)
        one = replace(
            one,
            modes=modes or one.modes,
            repetitions=repetitions or one.repetitions,
            link=replace(one.link, bandwidth_bps=bandwidth_bps or one.link.bandwidth_bps),
            force_after_s=force_after_s or one.force_after_s,
        )
        chosen += [replace(one, name=f"{one.name}-qemu{each}", qemu=each) for each in series] or [one]
    return chosen

"""The specification of a sweep: traces x strategies x parameters x links, read from TOML."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from glob import glob
from pathlib import Path
from typing import Any

from pagethrift.errors import UsageError
from pagethrift.given_file import named, read_toml
from pagethrift.kernels.machine_code import source_digest
from pagethrift.model.channels import CHANNELS, WINDOW_LOG, Compress, parse_window
from pagethrift.model.defaults import DOWNTIME_LIMIT_S
from pagethrift.simulator.simulate_options import SimulateOptions
from pagethrift.simulator.virtual_link import LinkSpec
from pagethrift.strategies.base import Strategy
from pagethrift.strategies.table import strategy
from pagethrift.trace.read import MOST_SEED, fingerprint
from pagethrift.units import parse_bandwidth, parse_seconds

_TOP = {
    "traces", "bandwidths", "speeds", "downtime_limits", "delays", "seeds", "force_after", "give_up",
    "strategies", "compress", "channels", "window",
}  # fmt: skip
_SIMULATING = ("kernels", "model", "stream", "content", "engine", "strategies", "trace", "simulator")
"""floors whose code a result depends on"""
MOST_CELLS = 100_000
_ROW = {"name", "stop", "parameters", "as_live", "compress", "channels", "window"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One simulation of a sweep."""

    trace: str
    """path"""
    trace_digest: str
    strategy: str
    stop: str
    parameters: tuple[tuple[str, float], ...]
    bandwidth_bps: int
    speed: float
    """how many times faster than recorded the guest runs"""
    delay_s: float
    downtime_limit_s: float
    as_live: bool
    seed: int
    force_after_s: float | None
    give_up_s: float
    compress: Compress = Compress.OFF
    """off for strategies whose pages never travel compressed, whatever the specification says"""
    channels: int = 0
    window_log: int = 0
    scale: float = 1.0
    """how many pages of the guest each page of the trace stands for; ``bandwidth_bps`` is already divided"""

    @property
    def key(self) -> str:
        """The cell's name: equal for equal work by the same code, and independent of the trace's folder."""
        data = asdict(self) | {"trace": "", "code": source_digest(*_SIMULATING)}
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:24]

    @property
    def options(self) -> SimulateOptions:
        """Return the options of the simulation."""
        return SimulateOptions(
            link=LinkSpec(self.bandwidth_bps, self.delay_s),
            downtime_limit_s=self.downtime_limit_s,
            force_after_s=self.force_after_s,
            give_up_s=self.give_up_s,
            as_live=self.as_live,
            compress=self.compress,
            channels=self.channels or CHANNELS,
            window_log=self.window_log or WINDOW_LOG,
            scale=self.scale,
        )


def read_spec(path: Path) -> list[Cell]:
    """Read a specification and return its cells, each once. Raises UsageError."""
    data = read_toml(path)
    try:
        with named(path):
            found = itertools.islice(_cells(data, path.parent), MOST_CELLS + 1)
            cells = list(dict.fromkeys(found))
    except KeyError as error:
        raise UsageError(f"{path}: {error} is missing") from error
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: broken specification ({error})") from error
    if len(cells) > MOST_CELLS:
        raise UsageError(f"{path}: more than {MOST_CELLS} simulations; split the specification")
    if not cells:
        raise UsageError(f"{path}: nothing to simulate; name traces, bandwidths and strategies")
    return cells


def _limits_s(data: Mapping[str, Any]) -> list[float]:
    if "downtime_limits" not in data:
        return [DOWNTIME_LIMIT_S]
    return [parse_seconds(text) for text in _texts(data, "downtime_limits")]


def _cells(data: Mapping[str, Any], folder: Path) -> Iterator[Cell]:
    _known(data, _TOP, "the specification")
    patterns = [str(folder / name) for name in _texts(data, "traces")]
    paths = [path for pattern in patterns for path in sorted(glob(pattern)) or [pattern]]
    traces = [(path, fingerprint(Path(path))) for path in paths]
    give_up_s = parse_seconds(str(data.get("give_up", "1h")))
    rows = data.get("strategies", [])
    bandwidths = [parse_bandwidth(text) for text in _texts(data, "bandwidths")]
    speeds = [float(speed) for speed in _each(data, "speeds", 1, len(bandwidths))]
    if not all(0 < speed < math.inf for speed in speeds):
        raise UsageError("speeds are positive numbers")
    seeds = [int(seed) for seed in data.get("seeds", [0])]
    if not all(0 <= seed <= MOST_SEED for seed in seeds):
        raise UsageError(f"seeds are whole numbers from 0 to {MOST_SEED}")
    forces = [text and parse_seconds(str(text)) for text in _each(data, "force_after", None, len(bandwidths))]
    links = itertools.product(
        zip(bandwidths, speeds, forces, strict=True),
        [parse_seconds(text) for text in _texts({"delays": ["0s"], **data}, "delays")],
        _limits_s(data),
        seeds,
    )
    for (trace, digest), ((bandwidth, speed, force_after_s), delay, limit, seed), row in itertools.product(
        traces, links, rows
    ):
        _known(row, _ROW, "a strategy of the specification")
        for parameters in _grid(row.get("parameters", {})):
            chosen = strategy(row["name"], row.get("stop", ""), **dict(parameters))
            yield Cell(
                trace, digest, row["name"], row.get("stop", ""), parameters, bandwidth, speed, delay, limit,
                bool(row.get("as_live", False)), seed, force_after_s, give_up_s,
                *_channels({**data, **row}, chosen),
            )  # fmt: skip


def _channels(data: Mapping[str, Any], row: Strategy) -> tuple[Compress, int, int]:
    """Return whether a row's pages travel compressed, over how many channels, with which window."""
    wanted = str(data.get("compress", Compress.AUTO))
    if wanted not in list(Compress):
        raise UsageError(f"compress is one of {', '.join(Compress)}, not {wanted!r}")
    options = SimulateOptions(
        LinkSpec(1),
        compress=Compress(wanted),
        channels=int(data.get("channels", CHANNELS)),
        window_log=parse_window(str(data["window"]), "window") if "window" in data else WINDOW_LOG,
    )
    options.check()
    found = options.channel_settings(row)
    return (found.compress, found.channels, found.window_log) if found else (Compress.OFF, 0, 0)


def _texts(data: Mapping[str, Any], name: str) -> list[str]:
    """Return an array of texts; a number becomes text too, so that it is asked for its unit."""
    values = data[name]
    if not isinstance(values, list) or not all(isinstance(value, str | int | float) for value in values):
        raise UsageError(f"{name} is an array of texts in quotes")
    return [str(value) for value in values]


def _each(data: Mapping[str, Any], name: str, default: Any, count: int) -> list[Any]:
    """Return a value for each bandwidth: one for all, or as many as there are."""
    value = data.get(name, default)
    values = value if isinstance(value, list) else [value] * count
    if len(values) != count:
        raise UsageError(f"{name}: give one value, or one for each of the {count} bandwidths")
    return values


def _grid(parameters: Mapping[str, Any]) -> Iterator[tuple[tuple[str, float], ...]]:
    """Return every combination; a list stands for each of its values."""
    names = sorted(parameters)
    values = [
        parameters[name] if isinstance(parameters[name], list) else [parameters[name]] for name in names
    ]
    for chosen in itertools.product(*values):
        numbers = tuple(float(value) for value in chosen)
        if not all(map(math.isfinite, numbers)):
            raise UsageError("parameters are finite numbers")
        yield tuple(zip(names, numbers, strict=True))


def _known(data: Mapping[str, Any], names: set[str], where: str) -> None:
    unknown = sorted(set(data) - names)
    if unknown:
        raise UsageError(f"{where} has no {unknown[0]!r}; choose one of {', '.join(sorted(names))}")

"""The table of strategies, with an explicit row for each."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from pagethrift.errors import UsageError
from pagethrift.strategies.base import Strategy
from pagethrift.strategies.cloudnet import cloudnet
from pagethrift.strategies.hu import hu
from pagethrift.strategies.kvm_auto_converge import kvm_auto_converge
from pagethrift.strategies.kvm_default import kvm_default
from pagethrift.strategies.kvm_post_copy import kvm_post_copy
from pagethrift.strategies.kvm_xbzrle import kvm_xbzrle
from pagethrift.strategies.lin import lin
from pagethrift.strategies.pagethrift import pagethrift
from pagethrift.strategies.stop_table import STOPS
from pagethrift.strategies.thesis import thesis
from pagethrift.strategies.thesis_literal import thesis_literal
from pagethrift.strategies.tpo import tpo
from pagethrift.strategies.wang import wang
from pagethrift.strategies.xen import xen
from pagethrift.strategies.xen_libxl import xen_libxl

TABLE: dict[str, Callable[..., Strategy]] = {
    "kvm-default": kvm_default,
    "kvm-xbzrle": kvm_xbzrle,
    "kvm-auto-converge": kvm_auto_converge,
    "kvm-post-copy": kvm_post_copy,
    "xen": xen,
    "xen-libxl": xen_libxl,
    "hu": hu,
    "lin": lin,
    "tpo": tpo,
    "wang": wang,
    "thesis": thesis,
    "thesis-literal": thesis_literal,
    "cloudnet": cloudnet,
    "pagethrift": pagethrift,
}

DEFAULT = "pagethrift"


def strategy(name: str, stop: str = "", **parameters: float) -> Strategy:
    """Return a strategy by name, for one migration.

    ``stop`` names a rule of STOPS that replaces the row's own; a parameter goes to the row, to the
    stop rule, or to both if both take it. Raises UsageError for an unknown name or parameter.
    """
    if name not in TABLE:
        raise UsageError(f"no strategy {name!r}; choose one of {', '.join(TABLE)}")
    if stop and stop not in STOPS:
        raise UsageError(f"no stop rule {stop!r}; choose one of {', '.join(STOPS)}")
    row_takes = inspect.signature(TABLE[name]).parameters
    stop_takes = STOPS[stop].parameters if stop else {}
    known = (*row_takes, *(key for key in stop_takes if key not in row_takes))
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        takes = ", ".join(known) or "none"
        raise UsageError(f"strategy {name} has no parameter {unknown[0]!r}; it takes {takes}")
    row = TABLE[name](**{key: value for key, value in parameters.items() if key in row_takes})
    if not stop:
        return row
    values = stop_takes | {key: value for key, value in parameters.items() if key in stop_takes}
    refusal = STOPS[stop].refuses_live
    return replace(
        row,
        stop=STOPS[stop].make(**values),
        qemu_decides=False,
        stop_name=stop,
        stop_parameters=values,
        refuses_live=row.refuses_live or (refusal and f"stop rule {stop}: {refusal}"),
    )


def live_strategy(name: str, stop: str = "", **parameters: float) -> Strategy:
    """Return a strategy for a real guest. Raises UsageError, which says what to use instead."""
    chosen = strategy(name, stop, **parameters)
    if chosen.refuses_live:
        raise UsageError(chosen.refuses_live)
    return chosen


def parse_parameters(parameters: Iterable[str]) -> dict[str, float]:
    """Read ``NAME=VALUE`` pairs of numbers. Raises UsageError."""
    values: dict[str, float] = {}
    for text in parameters:
        key, equals, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not equals or not math.isfinite(number):
            raise UsageError(f"{text!r} is not a parameter; write it as name=number")
        values[key.strip()] = number
    return values

"""The table of strategies: one explicit row each."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from pagethrift.errors import UsageError
from pagethrift.strategies.base import Strategy
from pagethrift.strategies.kvm_default import kvm_default
from pagethrift.strategies.pagethrift import pagethrift
from pagethrift.strategies.thesis import thesis

TABLE: dict[str, Callable[..., Strategy]] = {
    "kvm-default": kvm_default,
    "thesis": thesis,
    "pagethrift": pagethrift,
}

DEFAULT = "pagethrift"


def strategy(name: str, **parameters: float) -> Strategy:
    """Return a strategy by name. Raises UsageError for an unknown name or parameter."""
    if name not in TABLE:
        raise UsageError(f"no strategy {name!r}; there are {', '.join(TABLE)}")
    known = inspect.signature(TABLE[name]).parameters
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        takes = ", ".join(known) or "none"
        raise UsageError(f"strategy {name} has no parameter {unknown[0]!r}; it takes {takes}")
    return TABLE[name](**parameters)

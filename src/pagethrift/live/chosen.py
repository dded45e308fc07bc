"""What decides the switchover: the strategy that an operator chose, or somebody in its place."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from pagethrift.engine.planner import Planner
from pagethrift.live.helm import Decider
from pagethrift.live.migrate_options import Order
from pagethrift.strategies.base import Strategy
from pagethrift.strategies.table import live_strategy

Asked = TypeVar("Asked", bound=Order)


def with_strategy(options: Asked, decider: Decider | None) -> tuple[Asked, Strategy, Decider | None]:
    """Return the options with all parameters, the strategy, and what decides.

    That is ``decider``, else the strategy's stop rule; None where it leaves the switchover to QEMU.
    Raises UsageError.
    """
    chosen = live_strategy(options.strategy, options.stop, **options.parameters)
    options = replace(options, parameters=chosen.parameters, stop_parameters=chosen.stop_parameters)
    if decider is None and not chosen.qemu_decides:
        decider = Planner(chosen.stop)
    return options, chosen, decider

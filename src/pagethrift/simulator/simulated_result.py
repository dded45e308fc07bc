"""Building the result record of a simulated migration."""

from __future__ import annotations

from dataclasses import dataclass

from pagethrift.engine.counters import Count
from pagethrift.engine.rounds import RoundLog
from pagethrift.model.facts import StopDecision
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.model.result import MigrationResult, Mode, Outcome, recorded_parameters
from pagethrift.simulator.simulate_options import SimulateOptions
from pagethrift.simulator.virtual_link import VirtualLink
from pagethrift.simulator.virtual_relay import VirtualRelay
from pagethrift.strategies.base import Strategy
from pagethrift.trace.read import Trace


@dataclass(frozen=True, slots=True)
class End:
    """How a migration ended, in virtual seconds."""

    outcome: Outcome
    total_s: float
    downtime_s: float | None = None
    error: str = ""
    forced_at_s: float | None = None
    decision: StopDecision | None = None
    stale_pages: int = 0


def build_result(
    trace: Trace,
    strategy: Strategy,
    options: SimulateOptions,
    relay: VirtualRelay,
    link: VirtualLink,
    rounds: RoundLog,
    end: End,
    nonzero_pages: int,
    warnings: tuple[str, ...],
) -> MigrationResult:
    """Return the record; ``nonzero_pages``: pages that were not zero when the migration began."""
    bound_s = nonzero_pages * PAGE_BYTES / options.link.bandwidth_bps
    completed = end.outcome is Outcome.COMPLETED
    counters = relay.counters
    header = trace.header
    channels = options.channel_settings(strategy)
    decision = end.decision if completed else None
    return MigrationResult(
        mode=Mode.RELAY,
        strategy=strategy.name,
        outcome=end.outcome,
        simulated=True,
        began_unix_s=0.0,
        ended_unix_s=end.total_s,
        downtime_limit_s=options.downtime_limit_s,
        total_time_s=end.total_s,
        downtime_s=end.downtime_s,
        first_round_bytes=counters.of(Count.FIRST_ROUND_BYTES),
        retransferred_bytes=counters.of(Count.RETRANSFERRED_BYTES),
        transferred_bytes=link.sent_bytes,
        stale_pages=end.stale_pages if completed else None,
        one_pass_bound_s=bound_s,
        ratio=end.total_s / bound_s if completed and bound_s else None,
        parameters=recorded_parameters(strategy.parameters, strategy.stop_name, strategy.stop_parameters),
        converged=completed and end.forced_at_s is None,
        forced_at_s=end.forced_at_s,
        switchover_reason=decision.reason if decision else "",
        predicted_downtime_s=decision.predicted_downtime_s if decision else None,
        error=end.error,
        warnings=warnings,
        channels=channels.channels if channels else 0,
        window_bytes=channels.window_bytes if channels else 0,
        bandwidth_bps=options.link.bandwidth_bps,
        ram_bytes=header.memory_bytes,
        pages=counters.pages,
        rounds=rounds.records(relay.totals),
        source_qemu=header.qemu_version,
        machine=header.machine,
        accelerator=header.accelerator,
    )

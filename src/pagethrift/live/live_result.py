"""Building the result record from what the watch gathered."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from pagethrift.live.host import host_facts
from pagethrift.live.migrate_options import Order
from pagethrift.live.qmp import QmpMonitor
from pagethrift.live.watch import Watch
from pagethrift.model.channels import ChannelSettings
from pagethrift.model.facts import StopAction, StopDecision
from pagethrift.model.result import MigrationResult, Mode, Outcome, ParameterValue, recorded_parameters


@dataclass(frozen=True, slots=True)
class Identity:
    """What the two QEMUs are."""

    source_qemu: str
    destination_qemu: str
    machine: str
    accelerator: str
    driver: str = ""
    """what stood between pagethrift and both QEMUs, such as libvirt 9.0.0; empty: nothing, QMP was spoken"""
    guest: str = ""
    """its name, if QEMU was given one"""


async def identify(source: QmpMonitor, destination: QmpMonitor | None) -> Identity:
    """Ask both monitors. Raises QmpError."""
    kind = await source.execute("qom-get", {"path": "/machine", "property": "type"})
    kvm = await source.execute("query-kvm")
    named = await source.execute("query-name")
    return Identity(
        source_qemu=source.version_text,
        destination_qemu=destination.version_text if destination else "",
        machine=str(kind).removesuffix("-machine"),
        accelerator="kvm" if kvm["enabled"] else "tcg",
        guest=str(named.get("name", "")),
    )


def _why(decision: StopDecision | None) -> tuple[str, float | None]:
    """Return the reason of the switchover and the downtime predicted for it, in seconds."""
    if decision is None:
        return "QEMU's own rule", None
    if decision.action is StopAction.CONTINUE:  # a held QEMU too completes when its bitmap is clean
        return "nothing was left to send", None
    return decision.reason, decision.predicted_downtime_s


def build_result(
    options: Order,
    identity: Identity,
    watch: Watch,
    outcome: Outcome,
    *,
    stopped_s: float | None,
    resumed_s: float | None,
    source_cpu_s: float | None,
    error: str = "",
    warnings: tuple[str, ...] = (),
    channels: ChannelSettings | None = None,
    driver_job: Mapping[str, ParameterValue] | None = None,
) -> MigrationResult:
    """Return the record of one live migration; times are CLOCK_MONOTONIC seconds."""
    now_s, now_unix_s = time.monotonic(), time.time()
    total_time_s = (watch.ended_s or now_s) - watch.began_s
    first_bytes, again_bytes = watch.sent_by_pass()
    first_pass = watch.first_pass_info or watch.info
    bound_s = None
    if options.bandwidth_bps:
        bound_s = first_pass.normal_pages * first_pass.page_bytes / options.bandwidth_bps
    completed = outcome is Outcome.COMPLETED
    reason, predicted_s = _why(watch.decision) if completed else ("", None)
    relayed = not options.plain
    given = recorded_parameters(options.parameters, options.stop, options.stop_parameters)
    return MigrationResult(
        mode=Mode.RELAY if relayed else Mode.PLAIN,
        strategy=options.strategy if relayed else "qemu",
        outcome=outcome,
        simulated=False,
        began_unix_s=now_unix_s - (now_s - watch.began_s),
        ended_unix_s=now_unix_s,
        migration_id=options.migration_id,
        downtime_limit_s=watch.downtime_limit_s,
        total_time_s=total_time_s,
        downtime_s=resumed_s - stopped_s if completed and resumed_s and stopped_s else None,
        qemu_downtime_s=watch.info.downtime_s,
        first_round_bytes=first_bytes,
        retransferred_bytes=again_bytes,
        transferred_bytes=watch.transferred_bytes(),
        relay_cpu_s=watch.relay.cpu_s if relayed else None,
        source_cpu_s=source_cpu_s,
        relay_peak_rss_bytes=watch.relay.peak_rss_bytes if relayed else None,
        one_pass_bound_s=bound_s,
        ratio=total_time_s / bound_s if completed and bound_s else None,
        parameters=given if relayed else {},
        features=options.features.as_features(),
        converged=completed and watch.forced_at_s is None,
        forced_at_s=watch.forced_at_s,
        switchover_reason=reason,
        predicted_downtime_s=predicted_s,
        changes=tuple(watch.changes),
        error=error,
        warnings=warnings,
        channels=channels.channels if channels else 0,
        window_bytes=channels.window_bytes if channels else 0,
        bandwidth_bps=options.bandwidth_bps,
        ram_bytes=watch.info.total_bytes,
        pages=watch.counters(),
        rounds=watch.rounds(),
        source_qemu=identity.source_qemu,
        destination_qemu=identity.destination_qemu,
        machine=identity.machine,
        accelerator=identity.accelerator,
        driver=identity.driver,
        driver_job=driver_job or {},
        host=host_facts(),
        forecast=options.forecast,
    )

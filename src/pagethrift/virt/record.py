"""The record of one migration under libvirt: the link's bytes beside libvirt's own statistics."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pagethrift.live.live_result import Identity, build_result
from pagethrift.live.migrate_options import Order
from pagethrift.live.watch import Watch
from pagethrift.model.result import MigrationResult, Outcome, ParameterValue
from pagethrift.virt.ends import Ends
from pagethrift.virt.hypervisor import counters_of, version_text
from pagethrift.virt.pilot import Pilot


async def record(
    options: Order, ends: Ends, watch: Watch, pilot: Pilot, outcome: Outcome, error: str = ""
) -> MigrationResult:
    """Give the operator's downtime back, and return the record of a migration that has ended."""
    job = pilot.job
    if outcome is Outcome.COMPLETED and not job and ends.destination is not None:
        job = await ends.destination.last_job(ends.domain.uuid)
    last = counters_of(job, finished=outcome is Outcome.COMPLETED)
    if last is not None:
        watch.on_info(last, time.monotonic())
    await ends.give_back()
    destination = ends.destination
    identity = Identity(
        source_qemu=version_text(ends.source.qemu_version),
        destination_qemu=version_text(destination.qemu_version) if destination is not None else "",
        machine=ends.identity.machine,
        accelerator=ends.identity.accelerator,
        guest=ends.domain.name,
        driver=f"libvirt {version_text(ends.source.version)}",
    )
    return build_result(
        options,
        identity,
        watch,
        outcome,
        stopped_s=watch.stopped_s,
        resumed_s=pilot.resumed_s,
        source_cpu_s=None,
        error=error,
        warnings=pilot.helm.warnings(),
        channels=ends.channels,
        driver_job=_plain(job),
    )


def _plain(job: Mapping[str, Any]) -> dict[str, ParameterValue]:
    """Return those of libvirt's statistics that a result can hold."""
    return {str(name): value for name, value in job.items() if isinstance(value, str | int | float | bool)}

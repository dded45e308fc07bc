"""Orchestrators' stop rules: QEMU's own test, with a downtime limit that grows while it does not converge.

The orchestrators set QEMU's `downtime-limit` step by step. In pagethrift the planner decides, so the rule
applies the present limit itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pagethrift.model.facts import StopDecision, StopFacts
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.strategies.stop.rules import CONTINUE, fits, switch_over

LEAST_GIB = 2
"""Nova's `_live_migration_data_gb`"""


def _within(facts: StopFacts, limit_s: float, who: str) -> StopDecision:
    if fits(facts, limit_s):
        return switch_over(facts, f"pending fits the {limit_s * 1000:.0f} ms that {who} allows by now")
    return CONTINUE


@dataclass(frozen=True, slots=True)
class Nova:
    """OpenStack Nova, virt/libvirt/migration.py, `downtime_steps` and `update_downtime`.

    There are ``steps`` + 1 limits on a line from downtime / steps to downtime, delay x GiB apart; Nova
    counts a guest as at least 2 GiB.
    """

    downtime_s: float = 0.5
    """live_migration_downtime"""
    steps: float = 10
    """live_migration_downtime_steps"""
    delay_s: float = 75
    """live_migration_downtime_delay: seconds for each GiB of RAM (Nova adds the disks that it copies)"""

    def decide(self, facts: StopFacts) -> StopDecision:
        """Apply QEMU's test with the limit reached by now."""
        delay_s = self.delay_s * max(LEAST_GIB, facts.total_pages * PAGE_BYTES / (1 << 30))
        step = min(self.steps, max(0, facts.now_s) // delay_s) if delay_s > 0 else self.steps
        base_s = self.downtime_s / self.steps
        return _within(facts, base_s + (self.downtime_s - base_s) / self.steps * step, "Nova")


OVIRT_FIRST_S = 0.1
OVIRT_STEPS_S = ((1, 0.15), (2, 0.2), (3, 0.3), (4, 0.4), (6, 0.5))
"""(new iterations that must have been exceeded, limit): the policy "Minimal downtime" """


@dataclass(frozen=True, slots=True)
class OVirt:
    """oVirt: vdsm's convergence schedule with the engine's policy "Minimal downtime".

    An iteration counts when the remaining data grew, which is when QEMU began a new round. The
    policy aborts after the last step; this rule keeps waiting.
    """

    def decide(self, facts: StopFacts) -> StopDecision:
        """Apply QEMU's test with the limit reached by now."""
        limit_s = OVIRT_FIRST_S
        for exceeded, step_s in OVIRT_STEPS_S:
            limit_s = step_s if facts.round > exceeded else limit_s
        return _within(facts, limit_s, "oVirt")


@dataclass(slots=True)
class Ramp:
    """A linear ramp from ``first_s``: from round ``from_round`` on, one of ``steps`` steps every ``every_s``.

    Reconstructed from its description; the top is the migration's own downtime limit.
    """

    first_s: float = 0.15
    from_round: float = 3
    every_s: float = 10
    steps: float = 7
    _since_s: float | None = field(default=None, init=False, compare=False, repr=False)

    def decide(self, facts: StopFacts) -> StopDecision:
        """Apply QEMU's test with the limit reached by now."""
        if facts.round >= self.from_round and self._since_s is None:
            self._since_s = facts.now_s
        step = 0.0
        if self._since_s is not None:
            waited_s = max(0.0, facts.now_s - self._since_s)
            step = min(self.steps, waited_s // self.every_s if self.every_s > 0 else self.steps)
        top_s = facts.downtime_limit_s
        first_s = min(self.first_s, top_s)
        return _within(facts, first_s + (top_s - first_s) * step / self.steps, "the ramp")


@dataclass(frozen=True, slots=True)
class CloudHypervisor:
    """Cloud Hypervisor, `is_precopy_converged`: a round's backlog at the measured bandwidth, or a time limit.

    The rule decides once, at the beginning of a round. At the time limit it switches over regardless
    (Cloud Hypervisor's timeout strategy "ignore").
    """

    downtime_s: float = 0.3
    timeout_s: float = 3600

    def decide(self, facts: StopFacts) -> StopDecision:
        """Decide on the pages that were dirty when this round began."""
        if facts.round < 1:
            return CONTINUE
        backlog_bytes = facts.round_dirty_pages[-1] * PAGE_BYTES if facts.round_dirty_pages else 0
        if backlog_bytes <= self.downtime_s * facts.link_bps:
            return switch_over(facts, f"the round's backlog fits {self.downtime_s * 1000:.0f} ms")
        if facts.now_s >= self.timeout_s:
            return switch_over(facts, f"time limit of {self.timeout_s:g} s")
        return CONTINUE

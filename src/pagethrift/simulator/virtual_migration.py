"""One simulated migration: QEMU's rounds on virtual time, from the first page to RESUME.

There are two clocks. ``now_s`` is QEMU's: what it has read and handed on. The link's ``free_s`` is ahead of
it by the time for the bytes that a relay, or the kernel, has taken and not sent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np

from pagethrift.engine.counters import Count
from pagethrift.engine.decisions import Moment
from pagethrift.engine.planner import Planner
from pagethrift.engine.rounds import RoundLog
from pagethrift.model.channels import Compress
from pagethrift.model.defaults import HOLD_BUDGET_BYTES, PLANNER_TICK_S
from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from pagethrift.model.pages import PAGE_BYTES, U8
from pagethrift.model.result import MigrationResult, Outcome
from pagethrift.simulator.models import Deduplicate, SkipSeen
from pagethrift.simulator.post_copy import run_post_copy
from pagethrift.simulator.simulate_options import (
    BUFFER_S,
    SECTION_S,
    SOCKET_BYTES,
    SYNC_S,
    ZERO_BPS,
    SimulateOptions,
    buffer_bytes,
)
from pagethrift.simulator.simulated_result import End, build_result
from pagethrift.simulator.virtual_guest import Snapshot, VirtualGuest
from pagethrift.simulator.virtual_link import VirtualLink
from pagethrift.simulator.virtual_outlet import VirtualOutlet
from pagethrift.simulator.virtual_relay import Model, VirtualRelay
from pagethrift.simulator.virtual_source import VirtualSource
from pagethrift.strategies.base import Status, Strategy
from pagethrift.strategies.kvm_xbzrle import XbzrleCache
from pagethrift.strategies.stop.prediction import DEVICE_STATE_BYTES, FIXED_DOWNTIME_S
from pagethrift.strategies.stop.rules import switch_over
from pagethrift.trace.read import Trace

MOST_PAGES, FEWEST_PAGES, PEEK_PAGES = 1024, 16, 1024
BATCH_S = 0.02
"""link time of a batch, which bounds the age of the facts that the strategy gets about its pages"""


def simulate(trace: Trace, strategy: Strategy, options: SimulateOptions) -> MigrationResult:
    """Migrate the guest of a trace. Raises UsageError for impossible options.

    ``strategy`` is an unused object: it serves one migration. The same arguments give the same result.
    """
    options.check()
    return _Migration(trace, strategy, options).run()


@dataclass(slots=True)
class _Window:
    """QEMU's bandwidth: the bytes it handed on in the last window of at least 100 ms."""

    since_s: float = 0.0
    before_bytes: int = 0
    rate_bps: float = 0.0

    def look(self, now_s: float, sent_bytes: int) -> None:
        if now_s - self.since_s >= 0.1:
            self.rate_bps = (sent_bytes - self.before_bytes) / (now_s - self.since_s)
            self.since_s, self.before_bytes = now_s, sent_bytes


class _Migration:
    def __init__(self, trace: Trace, strategy: Strategy, options: SimulateOptions) -> None:
        self.trace, self.strategy, self.options = trace, strategy, options
        self.warnings: list[str] = []
        if trace.speed != 1:
            self.warnings.append(f"scaled trace: the guest runs {trace.speed:g} times as fast as recorded")
        self.as_defined = strategy.status is not Status.OURS and not options.as_live
        self.link = VirtualLink(options.link)
        self.guest = VirtualGuest(trace)
        self.guest.run(options.warm_up_s)
        self.left_out = self._left_out()
        watched = self._watch()
        self.source = VirtualSource(self.guest, self.left_out, options.scaled_chunk_pages)
        channels = options.channel_settings(strategy)
        self.relay = VirtualRelay(
            strategy, self.guest, self.source.bitmap, self.as_defined, self._models(),
            exact_deltas=isinstance(strategy.encode, XbzrleCache), watched=watched,
            hold_budget_bytes=int(HOLD_BUDGET_BYTES / options.scale),
            channels=channels, far_share=options.far_share, near_share=options.near_share,
            scale=options.scale,
        )  # fmt: skip
        self.outlet: VirtualOutlet | None = None
        if channels:
            may_send_plain = channels.compress is Compress.AUTO
            self.outlet = VirtualOutlet(
                self.link, channels.channels, options.compressor_bps, may_send_plain, options.scale
            )
        self.planner = Planner(strategy.stop)
        self.rounds = RoundLog(self.source.remaining)
        self.now_s = 0.0
        self.guest_due_s = self.guest.now_s
        """guest time that belongs to ``now_s``; reading pages may have run a little ahead of it"""
        self.pace_s = PAGE_BYTES * options.scale / options.source_bps
        """seconds for a page in the last batch"""
        self.qemu = _Window()
        self.decision: StopDecision | None = None
        self.go_s: float | None = None
        """when a decided switchover takes effect"""
        self.forced_at_s: float | None = None
        self.asked_s = -1.0
        self.section_s = 0.0
        self.between_sections = True

    def run(self) -> MigrationResult:
        """Carry the migration out."""
        nonzero = int(np.count_nonzero(self.trace.content > 0))
        self._ask(begun=True)
        while not self._stops():
            if self.now_s >= self.options.give_up_s:
                error = f"not converged within {self.options.give_up_s:g} s of virtual time"
                return self._result(nonzero, End(Outcome.FAILED, self.now_s, error=error))
            self._force()
            if self.decision is not None and self.decision.action is StopAction.START_POST_COPY:
                return self._post_copy(nonzero)
            if self.source.remaining and not self._fits():
                self._send_batch()
                self._end_section(drained=self.source.remaining == 0)
                self._ask()
            elif self._new_round():
                break
        return self._switch_over(nonzero)

    def _stops(self) -> bool:
        """Whether the switchover is decided and QEMU, which looks between sections of RAM, has seen it."""
        return self.go_s is not None and self.now_s >= self.go_s and self.between_sections

    def _fits(self) -> bool:
        """Whether QEMU decides and the pending bytes would fit, so that it reads the log again."""
        if not self.strategy.qemu_decides or self.go_s is not None:
            return False
        return self.source.remaining * PAGE_BYTES < self.qemu.rate_bps * self.options.downtime_limit_s

    def _new_round(self) -> bool:
        """Read the dirty log; True when nothing is left and QEMU completes by itself."""
        self._advance(self.now_s + SYNC_S)
        self.source.sync()
        self._begin_round()
        self._ask(begun=True)
        if not self.source.remaining and self.go_s is not None:
            self._advance(self.go_s)
            return False
        if self.source.remaining:
            if self._fits():  # by its last reading QEMU goes on, for one section
                self._send_batch()
                self._end_section(drained=self.source.remaining == 0)
            return False
        self._end_section(drained=True)
        if self.as_defined and len(self.relay.held):
            return False
        self.decision = StopDecision(StopAction.CONTINUE, "nothing was left to send")
        return True

    def _begin_round(self) -> None:
        self.rounds.begin(self.now_s, self.relay.totals, self.source.remaining)

    def _send_batch(self, last: bool = False) -> None:
        if self.strategy.simulated.peeks and self.as_defined:
            pages = self.source.take(PEEK_PAGES, 0.0)
        else:
            count = int(min(MOST_PAGES, max(FEWEST_PAGES, BATCH_S / self.pace_s)))
            pages = self.source.take(count, 0.0 if last else self.pace_s * self.guest.speed)
        self._forward(pages, last)

    def _forward(self, pages: Snapshot, last: bool) -> None:
        began_s = self.now_s
        if self.outlet and self.relay.channels:
            lanes = self.relay.channels.lanes
            scale = self.options.scale  # what is fast is a question of the guest's bytes
            lanes.weigh(self.link.rate_bps(self.now_s) * scale, self.outlet.long_pages_per_s * scale)
            lanes.compressing = self.outlet.compressing(self.now_s)
        size = self.relay.thin(pages, self._moment(last))
        self._put(size, began_s + self._read_s(pages))
        if len(pages):
            self.pace_s = max(1e-7, (self.now_s - began_s) / len(pages))

    def _read_s(self, pages: Snapshot) -> float:
        """Return how long QEMU and the relay need for these pages, without the link's time."""
        zero_pages = int(np.count_nonzero(pages.content == 0))
        content_pages = (len(pages) - zero_pages) * self.options.scale
        seconds = content_pages / self.options.source_bps + zero_pages / ZERO_BPS
        return seconds * PAGE_BYTES

    def _put(self, size_bytes: int, not_before_s: float) -> None:
        """Queue bytes of main and packets; QEMU's clock waits while more than the buffer is unsent."""
        if self.outlet and self.relay.channels:
            self.outlet.put(size_bytes, self.relay.channels.take_jobs(), self.now_s)
            free_s = self.outlet.free_s(self.now_s)
        else:
            if size_bytes:
                self.link.send(size_bytes, self.now_s)
            free_s = self.link.free_s - self._buffer_s()
        self._advance(max(not_before_s, free_s))
        self.qemu.look(self.now_s, self.relay.sent_bytes)

    def _buffer_s(self) -> float:
        rate_bps = max(1.0, self.link.rate_bps(self.now_s))
        if self.strategy.qemu_decides:
            return min(1.0, SOCKET_BYTES / self.options.scale / rate_bps)
        return min(1.0, buffer_bytes(rate_bps, self.options.scale, BUFFER_S) / rate_bps)

    def _advance(self, now_s: float) -> None:
        """Move QEMU's clock, and the guest with it."""
        if now_s > self.now_s:
            self.guest_due_s += (now_s - self.now_s) * self.guest.speed
            self.guest.run_to(self.guest_due_s)
            self.now_s = now_s

    def _end_section(self, drained: bool) -> None:
        self.between_sections = drained or self.now_s - self.section_s >= SECTION_S
        if self.between_sections:
            self.section_s = self.now_s
            size = self.relay.release(self._moment(last=False), everything=False)
            if self.relay.channels:
                size += self.relay.channels.end_section(last=False)
            if size or self.outlet:
                self._put(size, self.now_s)

    def _ask(self, begun: bool = False) -> None:
        """Ask the planner at the beginning of a round, at every tick, or when QEMU itself would decide."""
        due = begun or (not self.strategy.qemu_decides and self.now_s - self.asked_s >= PLANNER_TICK_S)
        if not due or self.go_s is not None:
            return
        self.asked_s = self.now_s
        decision = self.planner.decide(self._facts())
        self.decision = decision
        match decision.action:
            case StopAction.SWITCH_OVER:
                at_once = self.strategy.qemu_decides or self.as_defined
                self.go_s = self.now_s + (0.0 if at_once else self.options.go_delay_s)
            case StopAction.SET_THROTTLE:
                self.guest.speed = 1.0 - decision.throttle_percent / 100
            case StopAction.CONTINUE | StopAction.START_POST_COPY:
                pass  # run() looks whether post-copy is to start
            case _:
                assert_never(decision.action)

    def _force(self) -> None:
        after_s = self.options.force_after_s
        if after_s is not None and self.now_s >= after_s and self.go_s is None:
            self.forced_at_s = self.now_s
            self.decision = switch_over(self._facts(), "the operator's deadline")
            self.go_s = self.now_s + self.options.go_delay_s

    def _switch_over(self, nonzero: int) -> MigrationResult:
        """Stop the guest, send the remaining pages, held pages and device state, and resume it."""
        stopped_s = self.now_s
        self.guest.speed = 0.0
        self.source.sync()
        self._begin_round()
        while self.source.remaining:
            self._send_batch(last=True)
        size = self.relay.release(self._moment(last=True), everything=True)
        if self.relay.channels:
            size += self.relay.channels.end_section(last=True)
        self._put(size, self.now_s)
        ready_s = self.outlet.finish(self.now_s) if self.outlet else self.now_s
        last_byte_s = self.link.send(DEVICE_STATE_BYTES / self.options.scale, ready_s)
        resumed_s = last_byte_s + self.options.link.delay_s + FIXED_DOWNTIME_S
        total_s = resumed_s + self.options.link.delay_s
        return self._result(nonzero, End(Outcome.COMPLETED, total_s, resumed_s - stopped_s))

    def _post_copy(self, nonzero: int) -> MigrationResult:
        self.source.sync()
        end = run_post_copy(
            self.guest, self.source, self.relay, self.link, self.now_s, self._moment(True), self._read_s
        )
        self.warnings.append(end.note)
        self.now_s = end.total_s
        return self._result(nonzero, End(Outcome.COMPLETED, end.total_s, end.downtime_s))

    def _moment(self, last: bool) -> Moment:
        return Moment(
            self.now_s, self.rounds.current, self._seen_bps(), self.options.downtime_limit_s,
            last or self.go_s is not None,
        )  # fmt: skip

    def _seen_bps(self) -> float:
        """Return the rate that a relay takes for the link's: it never fills one that is faster than QEMU."""
        return min(self.link.rate_bps(self.now_s), self.options.source_bps / self.options.scale)

    def _facts(self) -> StopFacts:
        relay, decides = self.relay, self.strategy.qemu_decides
        counters = relay.counters
        rate_bps = self.qemu.rate_bps if decides else self._seen_bps()
        totals = relay.totals
        return StopFacts(
            now_s=self.now_s,
            round=self.rounds.current,
            round_began_s=self.rounds.began_s,
            dirty_pages_per_s=self.rounds.dirty_pages_per_s(),
            round_sent_bytes=self.rounds.sent_bytes(totals),
            round_dirty_pages=self.rounds.all_dirty_pages(),
            total_pages=self.trace.pages,
            remaining_pages=self.source.remaining,
            first_round_bytes=counters.of(Count.FIRST_ROUND_BYTES),
            retransferred_bytes=counters.of(Count.RETRANSFERRED_BYTES),
            retransferred_pages=counters.of(Count.RETRANSFERRED_PAGES),
            held_bytes=relay.held.held_bytes,
            held_pages=len(relay.held),
            unsent_bytes=0 if decides else self._unsent_bytes(),
            link_bps=rate_bps,
            compressor_pages_per_s=self.outlet.compressor_pages_per_s if self.outlet else 0.0,
            downtime_limit_s=self.options.downtime_limit_s,
        )

    def _unsent_bytes(self) -> int:
        if self.outlet and self.relay.channels:
            return self.outlet.unsent_bytes(self.now_s) + self.relay.channels.open_bytes
        return self.link.unsent_bytes(self.now_s)

    def _result(self, nonzero_pages: int, end: End) -> MigrationResult:
        if self.guest.loops:
            self.warnings.append(
                f"the trace ({self.trace.duration_s:.1f} s) was played {self.guest.loops + 1} times over"
            )
        stale = self.relay.stale_pages(self.left_out) if end.outcome is Outcome.COMPLETED else 0
        if stale:
            self.warnings.append(f"{stale} pages end stale at the destination")
        end = replace(end, forced_at_s=self.forced_at_s, decision=self.decision, stale_pages=stale)
        return build_result(
            self.trace, self.strategy, self.options, self.relay, self.link, self.rounds, end, nonzero_pages,
            tuple(self.warnings),
        )  # fmt: skip

    def _models(self) -> tuple[Model, ...]:
        wanted = self.strategy.simulated
        models: list[Model] = []
        if wanted.skips_seen:
            models.append(SkipSeen())
        if wanted.deduplicates and self.as_defined:
            models.append(Deduplicate())
        return tuple(models)

    def _left_out(self) -> U8:
        """Mark the pages that the guest does not need and has not written since its report."""
        out: U8 = np.zeros(self.trace.pages, np.uint8)
        wanted = self.strategy.simulated.leaves_out
        if wanted and self.trace.page_class is None:
            self.warnings.append("the trace has no page classes: nothing was left out")
        elif wanted and self.trace.page_class is not None:
            chosen = np.isin(self.trace.page_class, [int(each) for each in wanted])
            out[chosen & (self.guest.log == 0)] = 1
        return out

    def _watch(self) -> U8 | None:
        """Count each page's writes in the window before round 0, if the strategy wants it."""
        window_s = self.strategy.simulated.watch_s / self.trace.speed
        if window_s <= 0 or not self.as_defined:
            return None
        counts = np.zeros(self.trace.pages, np.int64)
        ends_s = self.guest.now_s + window_s
        steps = max(1, round(window_s * self.trace.speed / max(0.01, self.trace.header.interval_s)))
        for step in range(1, steps + 1):
            self.guest.log[:] = 0
            self.guest.run_to(ends_s - window_s * (1 - step / steps))
            counts += self.guest.log != 0
        return np.minimum(counts, 255).astype(np.uint8)

"""Observations of one migration while it runs, gathered from events, polls and the relay.

This file does no I/O: the driver feeds observations in, and reads facts, rounds and progress out.
"""

from __future__ import annotations

from dataclasses import dataclass

from pagethrift.engine.rounds import RoundLog, Totals
from pagethrift.live.qmp import MigrateInfo, QmpEvent
from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from pagethrift.model.relay_protocol import RelayState, RelayStatus
from pagethrift.model.result import ChangeRecord, PageCounters, RoundRecord
from pagethrift.strategies.stop.prediction import longest_downtime_s, predicted_downtime_s

SWITCHOVER_STATES = frozenset({"finish-migrate", "postmigrate"})
"""run states of a source whose guest QEMU itself has stopped to complete the migration"""
TERMINAL = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a running migration, for people and for --json."""

    elapsed_s: float
    phase: str
    """QEMU's migration status"""
    round: int
    ram_bytes: int
    remaining_bytes: int
    """what QEMU still has to send in this round"""
    sent_bytes: int
    """on the link so far"""
    pages: PageCounters
    held_pages: int
    link_bps: float
    predicted_downtime_s: float | None
    """of a switchover now, or of the one already decided; None while it is not known"""
    eta_s: float | None
    """until the end of this round at the present pace"""
    forced: bool
    warning: str
    downtime_limit_s: float = 0.0
    """in force now"""
    bandwidth_cap_bps: int | None = None
    """the most that may go on the link; 0: no limit, None: nobody set one"""
    switchover: str = ""
    """why the switchover was decided; empty before that, and where QEMU decides"""
    waits_for_go: bool = False
    """it does not switch over before an operator allows it"""


class Watch:
    """Everything observed of one migration; all ``now_s`` are CLOCK_MONOTONIC seconds."""

    def __init__(
        self, began_s: float, downtime_limit_s: float, bandwidth_bps: int | None, relayed: bool
    ) -> None:
        self.began_s = began_s
        self.info = MigrateInfo()
        self.relay = RelayStatus()
        self.status = ""
        self.error = ""
        self.stopped_s: float | None = None
        """the STOP of the switchover; None before it, and when the guest went on after all"""
        self.runs = True
        """the source's guest runs, or ran until the switchover stopped it"""
        self.switched = False
        """the switchover has begun, even if the guest went on afterwards"""
        self.ended_s: float | None = None
        """when the status became completed, failed or cancelled"""
        self.forced_at_s: float | None = None
        """seconds since the beginning"""
        self.decision: StopDecision | None = None
        self.first_pass_info: MigrateInfo | None = None
        """QEMU's first counters after the first pass"""
        self.notes: tuple[str, ...] = ()
        """what an operator should know now, beside what the relay says"""
        self.downtime_limit_s = downtime_limit_s
        """in force now"""
        self.bandwidth_cap_bps: int | None = None
        """the most that may go on the link; 0: no limit, None: nobody set one"""
        self.waits_for_go = False
        """it does not switch over before an operator allows it"""
        self.went_s: float | None = None
        """when that was allowed; None: not yet, or there was nothing to allow"""
        self.changes: list[ChangeRecord] = []
        """what operators changed since the beginning"""
        self._bandwidth_bps = bandwidth_bps
        self._relayed = relayed
        self._all_passed = False
        self._rounds = RoundLog()
        self._passes = 0

    def begin(self, now_s: float) -> None:
        """Set when the migration begins: just before `migrate` is sent."""
        self.began_s = now_s
        self._rounds = RoundLog()

    @property
    def round(self) -> int:
        """The current round; 0 = the first pass."""
        return self._rounds.current

    @property
    def ended(self) -> bool:
        """The source reports completed, failed or cancelled."""
        return self.status in TERMINAL

    @property
    def _decided(self) -> bool:
        return self.decision is not None and self.decision.action is StopAction.SWITCH_OVER

    def on_event(self, event: QmpEvent) -> None:
        """Take in an event of the source."""
        match event.name:
            case "STOP":
                self.on_stop(event.now_s)
            case "RESUME":
                self.stopped_s = None
                self.runs = True
            case "MIGRATION":
                self.on_status(event.data["status"], event.now_s)
            case "MIGRATION_PASS":
                self.on_pass(int(event.data["pass"]), event.now_s)

    def on_stop(self, now_s: float) -> None:
        """Take in that the source's guest has stopped; `on_stopped` may take it back."""
        self.stopped_s = now_s
        self.switched = True

    def on_pass(self, passes: int, now_s: float) -> None:
        """Take in that QEMU begins a pass: 1 is the first pass, each later pass n opens round n - 1."""
        self._passes = max(self._passes, passes)
        while self.round + 1 < self._passes:
            self._rounds.begin(now_s - self.began_s, self._totals())

    def on_status(self, status: str, now_s: float) -> None:
        """Take in QEMU's migration status, an empty one excepted; the first terminal one stays."""
        if self.ended:  # an answer that was on its way when the last event came is older than the event
            return
        self.status = status
        if self.ended:
            self.ended_s = now_s

    def on_stopped(self, run_state: str) -> None:
        """Take in why the last STOP came: only finish-migrate and what follows it are the switchover."""
        if run_state in SWITCHOVER_STATES or self.stopped_s is None:
            return
        self.stopped_s = None
        self.switched = False
        self.runs = run_state == "running"

    def on_info(self, info: MigrateInfo, now_s: float) -> None:
        """Take in an answer of query-migrate."""
        if info.error:
            self.error = info.error
        if info.total_bytes:  # a failed or cancelled migration reports no counters any more
            self.info = info
            self.on_pass(info.dirty_sync_count, now_s)
            if info.dirty_sync_count >= 2 and self.first_pass_info is None:
                self.first_pass_info = info
            if info.dirty_sync_count >= self._passes:
                self._rounds.found_dirty(info.remaining_bytes // info.page_bytes)
        if info.status:
            self.on_status(info.status, now_s)

    def on_relay(self, status: RelayStatus) -> None:
        """Take in a report of the relay."""
        self.relay = status
        self._all_passed = self._all_passed or status.state in (RelayState.TAIL, RelayState.DONE)

    @property
    def all_sent(self) -> bool:
        """Whether the destination may hold the whole guest."""
        if not self._relayed or self.relay.state is RelayState.PIPE:
            return self.switched
        return self._all_passed

    def predicted_downtime_s(self, now_s: float) -> float | None:
        """Return the predicted downtime of a switchover now, or of the one already decided.

        None while that is not known: in the first pass, without a link rate, and until QEMU has reported
        on this round.
        """
        if self.decision is not None and self._decided:
            return self.decision.predicted_downtime_s
        facts = self.facts(now_s)
        return None if facts is None else predicted_downtime_s(facts)

    def longest_downtime_s(self) -> float | None:
        """Return an upper bound of the downtime; None while the link rate or guest size is unknown."""
        pages = self.info.total_bytes // self.info.page_bytes
        return longest_downtime_s(pages, self._link_bps()) if pages else None

    def facts(self, now_s: float) -> StopFacts | None:
        """Return the facts a stop rule decides on; None until QEMU has reported on this round.

        Just after a pass event, QEMU's last answer still shows the old round, nearly finished: a stop
        rule would switch over because of it.
        """
        if self._rounds.dirty_pages is None:
            return None
        first, again = self.sent_by_pass()
        return StopFacts(
            now_s=now_s - self.began_s,
            round=self.round,
            round_began_s=self._rounds.began_s,
            total_pages=self.info.total_bytes // self.info.page_bytes,
            remaining_pages=self.info.remaining_bytes // self.info.page_bytes,
            dirty_pages_per_s=self._rounds.dirty_pages_per_s(),
            first_round_bytes=first,
            # pages count when they arrive, so their bytes must too: else each page would seem to cost little
            retransferred_bytes=again + self.relay.waiting_again_bytes,
            round_sent_bytes=self._rounds.sent_bytes(self._totals()),
            round_dirty_pages=self._rounds.all_dirty_pages(),
            retransferred_pages=self._retransferred_pages(),
            held_bytes=self.relay.held_bytes,
            unsent_bytes=self.relay.unsent_bytes,
            link_bps=self._link_bps(),
            compressor_pages_per_s=self.relay.compressor_pages_per_s,
            downtime_limit_s=self.downtime_limit_s,
            held_pages=self.relay.held_pages,
            waits_for_go=self.waits_for_go,
        )

    def sent_by_pass(self) -> tuple[int, int]:
        """Return (first_round_bytes, retransferred_bytes).

        Without a relay, the first poll after the first pass divides the two.
        """
        if self._relayed:
            return self.relay.first_round_bytes, self.relay.retransferred_bytes
        first = (self.first_pass_info or self.info).transferred_bytes
        return first, max(0, self.info.transferred_bytes - first)

    def transferred_bytes(self) -> int:
        """Return all bytes on the link as the relay, or QEMU, counts them."""
        return self.relay.out_bytes if self._relayed else self.info.transferred_bytes

    def counters(self) -> PageCounters:
        """Return the page records so far by kind."""
        return self._totals().pages

    def rounds(self) -> tuple[RoundRecord, ...]:
        """Return every round so far, the current one last."""
        return self._rounds.records(self._totals())

    def progress(self, now_s: float) -> Progress:
        """Return one look at the migration."""
        # When QEMU decides, nothing was predicted, and a stopped guest is past a "switchover now".
        unasked = self.stopped_s is not None and not self._decided
        return Progress(
            elapsed_s=now_s - self.began_s,
            phase=self.status or "setup",
            round=self.round,
            ram_bytes=self.info.total_bytes,
            remaining_bytes=self.info.remaining_bytes,
            sent_bytes=self.transferred_bytes(),
            pages=self.counters(),
            held_pages=self.relay.held_pages,
            link_bps=self._link_bps(),
            predicted_downtime_s=None if unasked else self.predicted_downtime_s(now_s),
            eta_s=self._round_eta_s(now_s),
            forced=self.forced_at_s is not None,
            warning="; ".join(filter(None, (self.relay.warning, *self.notes))),
            downtime_limit_s=self.downtime_limit_s,
            bandwidth_cap_bps=self.bandwidth_cap_bps,
            switchover=self.decision.reason if self.decision is not None and self._decided else "",
            waits_for_go=self.waits_for_go,
        )

    def _totals(self) -> Totals:
        """Return the counts of the relay or, without a relay, of QEMU."""
        if not self._relayed:
            info = self.info
            pages = PageCounters(full=info.normal_pages, delta=info.delta_pages, zero=info.zero_pages)
            return Totals(info.transferred_bytes, pages)
        now = self.relay
        return Totals(now.first_round_bytes + now.retransferred_bytes, now.pages, now.held_pages)

    def _retransferred_pages(self) -> int:
        """Return the pages sent after the first pass: as the relay or, without a relay, QEMU counts them."""
        if self._relayed:
            return self.relay.retransferred_pages
        now, first = self.info, self.first_pass_info or self.info
        sent, before = (each.normal_pages + each.delta_pages + each.zero_pages for each in (now, first))
        return max(0, sent - before)

    def _link_bps(self) -> float:
        measured = self.relay.link_bps if self._relayed else self.info.link_bps
        return measured or float(self._bandwidth_bps or 0)

    def _round_eta_s(self, now_s: float) -> float | None:
        duration_s = now_s - self.began_s - self._rounds.began_s
        done = (self._rounds.dirty_pages or 0) - self.info.remaining_bytes // self.info.page_bytes
        if done <= 0 or duration_s < 0.5:
            return None
        return self.info.remaining_bytes / self.info.page_bytes * duration_s / done

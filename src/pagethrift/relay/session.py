"""The relay: QEMU's socket on one side, the link on the other, the thinner in between.

Threads: `Relay.run`'s own receives and thins; one for each multifd channel receives and signs;
the outlet's writes; one carries the return path back; one reports. The first error in any of them
closes all sockets, so the source QEMU fails the migration at once and its guest runs on.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pagethrift.address import Address
from pagethrift.engine.counters import Count
from pagethrift.engine.output import Output, PauseReason, StreamPhase
from pagethrift.engine.sync_point import PROBE_VALUE
from pagethrift.engine.thinner import Thinner
from pagethrift.errors import LinkError, PagethriftError
from pagethrift.model.channels import ChannelSettings, Compress, SyncMode
from pagethrift.model.defaults import DOWNTIME_LIMIT_S, HOLD_BUDGET_BYTES
from pagethrift.model.error_data import unexpected
from pagethrift.model.relay_protocol import Change, RelayState, RelayStatus
from pagethrift.process_memory import memory_bytes
from pagethrift.relay import threads
from pagethrift.relay.channel_sender import channel_closed
from pagethrift.relay.connecting import open_connection
from pagethrift.relay.connection import Connection
from pagethrift.relay.doors import Door
from pagethrift.relay.intake import Intake
from pagethrift.relay.outlet import Outlet
from pagethrift.relay.pace import Pace
from pagethrift.relay.probe import Probe
from pagethrift.strategies.base import Strategy
from pagethrift.stream.encoding.packet import PacketEncoder
from pagethrift.stream.reader import BUFFER_BYTES
from pagethrift.stream.return_path import ReturnPath

if TYPE_CHECKING:
    from pagethrift.tls import TlsClient

REPORT_S = 0.1
RECEIVE_TIMEOUT_S = 0.5
STALL_TIMEOUT_S = 30.0
ABORT_S = 5.0
"""how long the thread that closes everything may take: what it waits for is bounded by a second or two"""
CLOSE_TIMEOUT_S = 600.0
"""how long the destination may take to load device state and close"""
ANSWER_SHARE = 0.8
"""of the stall timeout, for the probe's answer: a set-up that does not fit is named before a stall is"""

_STATES = {
    StreamPhase.PREAMBLE: RelayState.RAM,
    StreamPhase.RAM: RelayState.RAM,
    StreamPhase.TAIL: RelayState.TAIL,
    StreamPhase.PIPE: RelayState.PIPE,
}


class Relay:
    """One migration through one relay.

    A thread calls ``report`` about ten times a second, and when the state changes.
    """

    def __init__(
        self,
        entrance: Address | Door,
        destination: Address,
        strategy: Strategy,
        report: Callable[[RelayStatus], None],
        bandwidth_bps: float = 0.0,
        stall_timeout_s: float = STALL_TIMEOUT_S,
        downtime_limit_s: float = DOWNTIME_LIMIT_S,
        channels: ChannelSettings | None = None,
        tls: TlsClient | None = None,
        hold_budget_bytes: int = HOLD_BUDGET_BYTES,
        connected: socket.socket | None = None,
    ) -> None:
        """``entrance``: where the source comes in; an address is listened at.

        ``channels``: the compressed channels that the destination expects. ``connected``: a connection to
        the destination that nothing was sent over, to be used as main's.
        """
        self._destination = destination
        self._tls = tls
        self._connected = connected
        self._report = report
        self._bandwidth_bps = bandwidth_bps
        self._stall_timeout_s = stall_timeout_s
        self._channels = channels
        self._probe = Probe()
        self._sync_withheld = False
        """the destination's main may wait for a SYNC that the probe has not sent yet"""
        self._thinner = Thinner(strategy, secrets.token_bytes(32), hold_budget_bytes, channels=channels)
        self._thinner.downtime_limit_s = downtime_limit_s
        self._pace = Pace()
        self._state = RelayState.LISTENING
        self._error: PagethriftError | None = None
        self._connection: Connection | None = None
        self._channel_connections: list[Connection] = []
        self._outlet: Outlet | None = None
        self._answers = ReturnPath()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._aborting: threading.Event | None = None
        """set once the thread that saw the first error has closed everything"""
        self._intake = Intake(entrance, self._thinner)

    def run(self) -> None:
        """Serve one migration. Raises the first error."""
        reporter = threads.start("report", self._report_always, self.abort)
        try:
            self._forward(self._intake.wait_for_main())
            self._state = RelayState.DONE
        except PagethriftError as error:
            self.abort(error)
        except OSError as error:
            self.abort(LinkError(f"the source QEMU closed its socket: {error.strerror or error}"))
        except BaseException as error:
            self.abort(unexpected(error))
            raise
        finally:
            self._state = RelayState.FAILED if self._error else self._state
            with self._lock:
                aborting = self._aborting
                if aborting is None:
                    self._over.set()  # abort() does nothing any more
            if aborting is not None:
                aborting.wait(ABORT_S)
                self._over.set()
            self._close()
            reporter.join()
            self._tell()
        if self._error:
            raise self._error

    def begin_round(self, number: int) -> None:
        """Tell the strategy that QEMU began a round."""
        self._thinner.begin_round(number)

    def go(self) -> None:
        """Tell the thinner and the outlet that the switchover is decided."""
        self._thinner.go()
        if self._outlet:
            self._outlet.go()

    def change(self, change: Change) -> None:
        """Bound what is held back by another downtime limit, or what goes on the link by a cap."""
        if change.downtime_limit_s is not None:
            self._thinner.downtime_limit_s = change.downtime_limit_s
        if change.bandwidth_bps is not None:
            self._pace.set(change.bandwidth_bps)
            if self._outlet:
                self._outlet.cap(change.bandwidth_bps)

    def tell(self) -> None:
        """Report the present counters at once, in addition to the regular reports."""
        self._tell()

    def abort(self, error: PagethriftError) -> None:
        """Close both sides: the source fails the migration and its guest runs on.

        The first thread to call it does the work; another's call returns at once.
        """
        with self._lock:
            if self._over.is_set() or self._aborting:
                return
            self._error = error
            self._aborting = done = threading.Event()
        try:
            self._intake.stop()  # the source first: its guest runs on
            if self._outlet:
                if self._sync_withheld:  # nothing else was written to channels; main hangs without it
                    self._outlet.sync_at_once()
                self._outlet.abandon()
        finally:
            self._close_link()
            done.set()

    def status(self) -> RelayStatus:
        """Return the counters as they are now."""
        thinner, outlet, over = self._thinner, self._outlet, self._over.is_set()
        counters, packing = thinner.counters, thinner.packing
        open_bytes = packing.open_bytes if packing else 0
        state = self._state if self._state is not RelayState.RAM else _STATES[thinner.phase]
        return RelayStatus(
            state=state,
            now_s=time.monotonic(),
            round=thinner.round,
            in_bytes=thinner.in_bytes,
            out_bytes=outlet.sent_bytes if outlet else 0,
            unsent_bytes=0 if outlet is None or over else outlet.unsent_bytes + open_bytes,
            link_bps=outlet.rate.bps if outlet else self._bandwidth_bps,
            compressor_pages_per_s=outlet.compressor_pages_per_s if outlet else 0.0,
            pages_in=counters.of(Count.PAGES_IN),
            pages=counters.pages,
            page_bytes=counters.page_bytes,
            held_pages=len(thinner.held),
            held_bytes=thinner.held.held_bytes,
            first_round_bytes=counters.of(Count.FIRST_ROUND_BYTES),
            retransferred_bytes=counters.of(Count.RETRANSFERRED_BYTES),
            waiting_again_bytes=packing.waiting_again_bytes if packing else 0,
            retransferred_pages=counters.of(Count.RETRANSFERRED_PAGES),
            downtime_limit_s=thinner.downtime_limit_s,
            bandwidth_cap_bps=self._pace.bps,
            cpu_s=time.process_time(),
            peak_rss_bytes=memory_bytes(),
            refused=self._intake.refused,
            warning="; ".join(filter(None, (thinner.warning, self._intake.warning))),
        )

    def _forward(self, source: socket.socket) -> None:
        # Connect only with bytes in hand: to the destination, even an idle connection is its one migration.
        self._connection = connection = self._open()
        self._outlet = outlet = self._open_outlet(connection, self._channels)
        if self._error:  # abort() may have looked for a connection before there was one
            outlet.abandon()
            raise self._error
        if self._channels:
            self._answers.await_pong(PROBE_VALUE)
        back = threads.start("return", partial(self._carry_back, source, connection), self.abort)
        self._state = RelayState.RAM
        while (progress := self._thin_received(outlet)) is not PauseReason.ENDED:
            if progress is PauseReason.PROBE:
                self._thinner.probed(self._ask_mode(outlet))
            elif progress is PauseReason.NEED_INPUT:
                self._intake.receive_bytes = min(BUFFER_BYTES, outlet.rate.bound_bytes // 2)
                self._intake.fill(outlet.busy)
            else:
                self._intake.hand_back()
        outlet.finish()
        back.join(CLOSE_TIMEOUT_S)
        if back.is_alive():
            raise LinkError(f"the destination did not close the link within {CLOSE_TIMEOUT_S:.0f} s")
        if self._error:
            raise self._error
        self._intake.end_in_order()

    def _open(self, channel: bool = False) -> Connection:
        """Connect to the destination once. Raises LinkError."""
        made = None if channel else self._connected
        return open_connection(self._destination, self._tls, self._is_aborted, channel, made)

    def _open_outlet(self, main: Connection, channels: ChannelSettings | None) -> Outlet:
        """Connect the channels, after main: QEMU 7.2 knows main by its coming first. Raises LinkError."""
        if channels is None:
            return Outlet(main, self._stall_timeout_s, self.abort, self._bandwidth_bps, pace=self._pace)
        encoders = [PacketEncoder(number, channels) for number in range(channels.channels)]
        for number, encoder in enumerate(encoders):
            connection = self._open(channel=True)
            self._channel_connections.append(connection)
            # QEMU reads it before it accepts the next connection
            connection.write_all(encoder.handshake(), self._stall_timeout_s)
            threads.start("channel-in", partial(self._watch_channel, number), self.abort)
        return Outlet(
            main, self._stall_timeout_s, self.abort, self._bandwidth_bps,
            list(zip(self._channel_connections, encoders, strict=True)), self._thinner.taken,
            may_send_plain=channels.compress is not Compress.ON, pace=self._pace,
        )  # fmt: skip

    def _ask_mode(self, outlet: Outlet) -> SyncMode:
        """Find out how the destination syncs; the PING is on its way."""

        def send_sync() -> None:
            self._sync_withheld = False
            self._thinner.sync_channels()
            outlet.put(outlet.take(), self._thinner.jobs())

        def ask_again() -> None:
            self._answers.await_pong(PROBE_VALUE)
            output = outlet.take()
            self._thinner.probe_again(output)
            self._sync_withheld = True
            outlet.put(output)

        def check() -> None:
            if self._error:
                raise self._error

        answer_s = ANSWER_SHARE * self._stall_timeout_s
        self._sync_withheld = True
        mode = self._probe.mode(self._thinner.expected_mode, answer_s, send_sync, ask_again, check)
        self._sync_withheld = False
        return mode

    def _watch_channel(self, number: int) -> None:
        """Abort at once when the destination closes a channel: it hangs otherwise, and waits for a SYNC."""
        connection = self._channel_connections[number]
        while not self._over.is_set():
            reason: Exception | None = None
            try:
                data = connection.receive(RECEIVE_TIMEOUT_S)
            except (OSError, ValueError) as error:
                data, reason = b"", error
            if data != b"":
                continue
            outlet = self._outlet
            loaded = self._thinner.phase is StreamPhase.TAIL and outlet is not None and outlet.drained(number)
            if not loaded and not self._over.is_set():
                hint = self._connection.hint() if self._connection and self._tls else ""
                self.abort(channel_closed(number, reason, hint))
            return

    def _is_aborted(self) -> bool:
        return self._error is not None

    def _thin_received(self, outlet: Outlet) -> PauseReason:
        """Thin what was received into one output."""
        output: Output = outlet.take()
        self._thinner.link_bps = outlet.rate.bps
        if packing := self._thinner.packing:
            self._thinner.compressing = outlet.compressing()
            packing.long_pages_per_s = outlet.long_pages_per_s
        try:
            return self._thinner.run(output, time.monotonic())
        finally:
            outlet.put(output, self._thinner.jobs())

    def _carry_back(self, source: socket.socket, link: Connection) -> None:
        """Forward the return path; abort if the load fails or the path ends early."""
        while not self._over.is_set():
            try:
                data = link.receive(RECEIVE_TIMEOUT_S)
            except OSError as error:
                return self.abort(LinkError(f"the destination closed the link: {error.strerror}"))
            if data is None:
                continue
            if not data:
                break
            forward = self._answers.feed(data)
            if self._answers.pong:
                self._answers.pong = False
                self._probe.answered()
            if self._answers.postcopy:
                return self.abort(LinkError("the destination asks for what only a post-copy migration has"))
            if self._answers.shut:
                return self.abort(LinkError("the destination failed to load the stream; see its log"))
            try:
                source.sendall(forward)
            except OSError as error:
                return self.abort(LinkError(f"the source QEMU closed its socket: {error.strerror}"))
        if self._thinner.phase not in (StreamPhase.TAIL, StreamPhase.PIPE):
            return self.abort(
                LinkError(f"the destination closed the link before the end of RAM{link.hint()}")
            )
        if self._answers.seen and self._answers.understood and self._answers.shut is None:
            return self.abort(LinkError("the destination closed the link before it had loaded the guest"))
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_WR)

    def _tell(self) -> None:
        """Report; a report that fails is dropped, for it may not decide how a migration goes."""
        with contextlib.suppress(Exception):
            self._report(self.status())

    def _report_always(self) -> None:
        self._tell()
        before = (self._state, self._intake.warning)
        while not self._over.wait(REPORT_S):
            now = (self._state, self._intake.warning)
            if self._state is not RelayState.LISTENING or now != before:
                self._tell()
            before = now

    def _close(self) -> None:
        self._intake.close()
        self._close_link()

    def _close_link(self) -> None:
        for connection in (self._connection, *self._channel_connections):
            if connection is not None:
                connection.close()

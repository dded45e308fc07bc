"""``pagethrift relay``: the relay alone, for one migration."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from pagethrift.address import Address, parse_address
from pagethrift.cli.channels import (
    DEFAULT_WINDOW,
    Channels,
    CompressOption,
    Window,
    channel_settings,
)
from pagethrift.cli.collecting import collecting_later
from pagethrift.cli.common import (
    DEFAULT_DOWNTIME_LIMIT,
    DEFAULT_STRATEGY,
    Json,
    Parameters,
    StrategyName,
    TlsDir,
    TlsHostname,
    chosen_strategy,
    link_tls,
)
from pagethrift.cli.outside import LogJson, MetricsOption, MigrationId, Outside, checked_id, told
from pagethrift.engine.warmup import warm_up
from pagethrift.errors import LinkError, UsageError
from pagethrift.model.channels import Compress
from pagethrift.model.defaults import HOLD_BUDGET_BYTES
from pagethrift.model.relay_protocol import Change, RelayState, RelayStatus
from pagethrift.model.running import RunKind, Running
from pagethrift.relay.control import Speaker, obey
from pagethrift.relay.doors import Door, HandedOver
from pagethrift.relay.session import STALL_TIMEOUT_S, Relay
from pagethrift.units import format_bandwidth, format_bytes, parse_bandwidth, parse_seconds, parse_size

LOOK_S = 0.05
"""how soon a signal is acted on"""

DEFAULT_HOLD = f"{HOLD_BUDGET_BYTES >> 20}MiB"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    epilog="Example: pagethrift relay --listen unix:/run/vm1.relay --connect host2:4444, "
    "and in QEMU: migrate unix:/run/vm1.relay"
)
def relay(
    connect: Annotated[str, typer.Option(help="The address of the destination QEMU.", metavar="ADDR")],
    listen: Annotated[
        str, typer.Option(help="The address for QEMU to connect to: unix:PATH or HOST:PORT.", metavar="ADDR")
    ] = "",
    strategy: StrategyName = DEFAULT_STRATEGY,
    param: Parameters = None,
    bandwidth: Annotated[
        str | None, typer.Option(help="The rate of the link, if you know it, e.g. 1Gbit.")
    ] = None,
    downtime_limit: Annotated[
        str,
        typer.Option(help="The longest downtime that you accept; it bounds how much the relay holds back."),
    ] = DEFAULT_DOWNTIME_LIMIT,
    channels: Channels = 0,
    compress: CompressOption = Compress.AUTO,
    window: Window = DEFAULT_WINDOW,
    guest_uuid: Annotated[
        str, typer.Option(help="The guest's UUID, if its QEMU was started with -uuid; for --channels.")
    ] = "",
    tls_dir: TlsDir = None,
    tls_hostname: TlsHostname = None,
    stall_timeout: Annotated[
        str, typer.Option(help="Fail when the destination takes nothing for this long.")
    ] = (f"{STALL_TIMEOUT_S:.0f}s"),
    hold: Annotated[
        str, typer.Option(help="Hold back at most so much of the guest's memory.", metavar="SIZE")
    ] = DEFAULT_HOLD,
    handed_over: Annotated[int, typer.Option(hidden=True)] = -1,
    connected: Annotated[int, typer.Option(hidden=True)] = -1,
    metrics: MetricsOption = None,
    log_json: LogJson = False,
    id: MigrationId = None,
    unlisted: Annotated[bool, typer.Option("--unlisted", hidden=True)] = False,
    json: Json = False,
) -> None:
    """Run the relay alone, for one migration. For many of a host: relay --serve (see relay --serve --help).

    With --json the relay writes a status line about ten times a second; its last line says how it ended. It
    also reads commands from standard input: {"round": 3}, {"go": true}, {"status": true},
    {"set": {"downtime_limit_s": 0.5, "bandwidth_bps": 12500000}}. It ends when standard input ends.

    Exit codes: 0 forwarded to the end, 2 usage, 3 stream, 4 link, 130 interrupted.
    """
    speaker = Speaker(sys.stdout.fileno()) if json else None
    interrupted = threading.Event()
    report = speaker.status if speaker else _Words()

    def make(outside: Outside) -> Relay:
        chosen = chosen_strategy(strategy, param)
        over = channel_settings(channels, compress, window, guest_uuid)
        near, far = _entrance(listen, handed_over), parse_address(connect)
        hold_bytes = parse_size(hold)
        bandwidth_bps = parse_bandwidth(bandwidth) if bandwidth else 0.0
        stall_timeout_s, downtime_limit_s = parse_seconds(stall_timeout), parse_seconds(downtime_limit)
        tls = link_tls(tls_dir, far, tls_hostname)
        with collecting_later():
            warm_up()

        def tell(status: RelayStatus) -> None:
            seen.status = status
            outside.look()
            if speaker or not log_json:
                report(status)

        made = socket.socket(fileno=connected) if connected >= 0 else None
        return Relay(
            near, far, chosen, tell, bandwidth_bps, stall_timeout_s, downtime_limit_s, over, tls,
            hold_bytes, made,
        )  # fmt: skip

    with _last_word(speaker, interrupted):
        seen = _Seen(checked_id(id), listen, connect)
        outside = Outside(seen.running, seen.change, metrics, log_json, listed=not unlisted)
    with told(outside, "relay"), _last_word(speaker, interrupted):
        seen.relay = make(outside)
        seen.status = seen.relay.status()
        _serve(seen.relay, speaker is not None, interrupted)
    if speaker:
        speaker.end(None)


@contextlib.contextmanager
def _last_word(speaker: Speaker | None, interrupted: threading.Event) -> Iterator[None]:
    """Tell the driver of an error; one that a signal brought about is the end of an interrupted relay."""
    try:
        yield
    except Exception as error:
        if speaker:
            speaker.end(error)
        if interrupted.is_set():
            sys.exit(130)
        raise


class _Seen:
    """The relay as others see it and change it."""

    def __init__(self, id_: str, source: str, destination: str) -> None:
        self.status = RelayStatus()
        self.relay: Relay | None = None
        self._about = Running(
            id_, RunKind.RELAY, os.getpid(),
            source=source, destination=destination, began_unix_s=time.time(),
        )  # fmt: skip

    def running(self) -> Running:
        """Return how far the relay is."""
        return self._about.with_relay(self.status)

    def change(self, change: Change) -> None:
        """Change a limit. Raises UsageError when it is too late."""
        late = self.status.state not in (RelayState.LISTENING, RelayState.RAM)
        if self.relay is None or late:
            raise UsageError("nothing was changed: the relay has not begun, or is past the end of RAM")
        self.relay.change(change)
        self.relay.tell()


def _serve(server: Relay, driven: bool, interrupted: threading.Event) -> None:
    """Run the relay in its own thread, so that signals are handled at once; raise its error."""

    def stop(signum: int, frame: object) -> None:
        interrupted.set()  # no more: a second signal may come while locks are held

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if driven:
        threading.Thread(target=obey, args=(server, sys.stdin.fileno()), name="commands", daemon=True).start()
    failures: list[Exception] = []
    worker = threading.Thread(target=_run, args=(server, failures), name="relay")
    worker.start()
    while worker.is_alive() and not interrupted.is_set():
        worker.join(LOOK_S)
    if interrupted.is_set():
        server.abort(LinkError("interrupted; the source guest keeps running"))
        worker.join()
    if failures:
        raise failures[0]


def _entrance(listen: str, handed_over: int) -> Address | Door:
    """Return where the source comes in; a service's relay gets connections by a descriptor (`Handing`)."""
    if handed_over >= 0:
        return HandedOver(handed_over)
    if not listen:
        raise UsageError("give --listen ADDR, where QEMU is to connect")
    return parse_address(listen, listening=True)


def _run(server: Relay, failures: list[Exception]) -> None:
    try:
        server.run()
    except Exception as error:
        failures.append(error)


class _Words:
    """Reports for people: state changes, and a line every two seconds."""

    def __init__(self) -> None:
        self._state: RelayState | None = None
        self._said_s = 0.0
        self._warned = ""

    def __call__(self, status: RelayStatus) -> None:
        if status.warning != self._warned:
            self._warned = status.warning
            print(f"pagethrift: warning: {status.warning}", file=sys.stderr)
        if status.state is self._state and status.now_s - self._said_s < 2:
            return
        self._state, self._said_s = status.state, status.now_s
        line = f"{status.state}: in {format_bytes(status.in_bytes)}, out {format_bytes(status.out_bytes)}"
        line += f", {status.pages.skipped} pages skipped, {status.pages.delta} as deltas"
        if status.link_bps:
            line += f", link {format_bandwidth(status.link_bps)}"
        print(line, file=sys.stderr)

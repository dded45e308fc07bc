"""``pagethrift migrate``: one whole migration, from the checks to the result."""

from __future__ import annotations

import asyncio
import json as json_library
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pagethrift.cli.auto import Asked, forecasted
from pagethrift.cli.channels import DEFAULT_WINDOW, CompressOption, Window
from pagethrift.cli.common import (
    DEFAULT_DOWNTIME_LIMIT,
    DEFAULT_STRATEGY,
    LINK,
    SWITCHOVER,
    Auto,
    Bandwidth,
    DowntimeLimit,
    FactsLog,
    ForceAfter,
    ForecastFile,
    Json,
    Parameters,
    ResultFile,
    StopName,
    StrategyName,
    SwitchoverDeadline,
    Timeout,
    TlsDir,
    TlsHostname,
    Watch,
    ordered,
)
from pagethrift.cli.ending import until_signal
from pagethrift.cli.exits import complain
from pagethrift.cli.outside import LogJson, MetricsOption, MigrationId, Outside, checked_id, told
from pagethrift.cli.progress import View, view
from pagethrift.errors import QmpError, UsageError
from pagethrift.live.check import check as check_migration
from pagethrift.live.handle import Handle
from pagethrift.live.migrate import migrate as migrate_live
from pagethrift.live.migrate_options import MigrateOptions, PlainFeatures
from pagethrift.live.watch import Progress
from pagethrift.model.channels import Compress, parse_window
from pagethrift.units import parse_bandwidth, parse_size
from pagethrift.whole_file import check_output

app = typer.Typer(add_completion=False)

_PLAIN = "Without the relay, for comparison"

EPILOG = (
    "Example: pagethrift migrate --qmp /run/vm1.qmp --to host2:4444 --destination-qmp /run/vm1-new.qmp"
    " --bandwidth 1Gbit --downtime-limit 300ms --out result.json\n\n"
    "Without --destination-qmp, pagethrift can neither ask the destination nor start it. If the destination"
    " was started without -S and the connection is cut at the very end, both guests may run, or pagethrift"
    " cannot say where the guest runs. Start the destination with -S, and give its monitor.\n\n"
    "Exit codes: 0 the guest runs at the destination (with --check: nothing was found), 1 unexpected,"
    " 2 usage, 3 the stream cannot be thinned, 4 the link or the destination failed, 5 a QEMU refused or does"
    " not answer (with --check: something was found), 7 the guest runs at neither end, at both, or nobody can"
    " say where, 8 cancelled by another client, 9 the source QEMU ended and its guest with it,"
    " 130 interrupted. After every code but 0, 1, 7 and 9 the guest runs on at the source unless the"
    " message says otherwise."
)


@app.command(epilog=EPILOG)
def migrate(
    qmp: Annotated[str, typer.Option(help="The QMP unix socket of the source QEMU.", metavar="SOCKET")],
    to: Annotated[
        str,
        typer.Option(
            help="The address at which the destination QEMU listens.", metavar="HOST:PORT|unix:PATH"
        ),
    ],
    destination_qmp: Annotated[
        str | None,
        typer.Option(
            help="The QMP unix socket of the destination QEMU; migrate prepares it and starts its guest."
            " What leaving it out risks stands below.",
            metavar="SOCKET",
        ),
    ] = None,
    incoming: Annotated[
        str | None,
        typer.Option(
            help="Where a destination started with -incoming defer is to listen (default: --to).",
            metavar="URI",
        ),
    ] = None,
    leave_paused: Annotated[bool, typer.Option(help="Leave the guest paused at the destination.")] = False,
    strategy: StrategyName = DEFAULT_STRATEGY,
    param: Parameters = None,
    stop: StopName = None,
    bandwidth: Bandwidth = None,
    cap: Annotated[
        str | None,
        typer.Option(
            help="The most that goes on the link, until `pagethrift set --bandwidth` changes it.",
            metavar="RATE",
            rich_help_panel=LINK,
        ),
    ] = None,
    compress: CompressOption = Compress.AUTO,
    channels: Annotated[
        int | None,
        typer.Option(
            help="Compressed channels to the destination (default: 2). Without --destination-qmp: how many"
            " multifd channels the destination was started with, with compression zstd.",
            metavar="N",
            rich_help_panel=LINK,
        ),
    ] = None,
    window: Window = DEFAULT_WINDOW,
    tls_dir: TlsDir = None,
    tls_hostname: TlsHostname = None,
    relay_folder: Annotated[
        Path | None,
        typer.Option(
            help="The folder for the relay's socket, for a QEMU that cannot see /tmp.", rich_help_panel=LINK
        ),
    ] = None,
    downtime_limit: DowntimeLimit = DEFAULT_DOWNTIME_LIMIT,
    wait_for_go: Annotated[
        bool,
        typer.Option(
            "--wait-for-go",
            help="Send everything, stay near the end, and switch over only after `pagethrift set --go`.",
            rich_help_panel=SWITCHOVER,
        ),
    ] = False,
    force_after: ForceAfter = None,
    switchover_deadline: SwitchoverDeadline = None,
    timeout: Timeout = None,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain",
            help="Let QEMU connect to the destination itself, without the relay.",
            rich_help_panel=_PLAIN,
        ),
    ] = False,
    xbzrle_cache: Annotated[
        str | None,
        typer.Option(help="Use XBZRLE with a cache of this size, e.g. 512MiB.", rich_help_panel=_PLAIN),
    ] = None,
    auto_converge: Annotated[
        bool,
        typer.Option(
            "--auto-converge",
            help="Throttle the guest until the migration converges.",
            rich_help_panel=_PLAIN,
        ),
    ] = False,
    post_copy: Annotated[
        bool,
        typer.Option(
            "--post-copy", help="Switch to post-copy after the first round.", rich_help_panel=_PLAIN
        ),
    ] = False,
    multifd: Annotated[
        int | None,
        typer.Option(
            help="Number of multifd channels at the source; with --plain the destination uses them too.",
            metavar="N",
            rich_help_panel=LINK,
        ),
    ] = None,
    multifd_compression: Annotated[
        str, typer.Option(help="The compression of multifd: none, zlib or zstd.", rich_help_panel=_PLAIN)
    ] = "none",
    max_bandwidth: Annotated[
        str | None,
        typer.Option(help="QEMU's own limit; 0 means no limit (default: unchanged).", rich_help_panel=_PLAIN),
    ] = None,
    out: ResultFile = None,
    facts_log: FactsLog = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say, a line each, for what this migration would fail.")
    ] = False,
    auto: Auto = False,
    watch: Watch = None,
    forecast: ForecastFile = None,
    compare: Annotated[
        bool,
        typer.Option(help="Refuse a destination whose machine, memory or devices differ from the source's."),
    ] = True,
    metrics: MetricsOption = None,
    log_json: LogJson = False,
    id: MigrationId = None,
    json: Json = False,
) -> None:
    """Migrate a running guest.

    The relay runs beside the source QEMU; neither QEMU is modified. Ctrl-C breaks the migration off, and the
    guest runs on at the source.
    """
    options = MigrateOptions(
        source_qmp=qmp,
        destination=to,
        destination_qmp=destination_qmp,
        incoming_uri=incoming,
        start_destination=not leave_paused,
        **ordered(
            strategy, param, stop, downtime_limit, bandwidth, force_after, timeout, switchover_deadline
        ),
        cap_bps=parse_bandwidth(cap) if cap else None,
        wait_for_go=wait_for_go,
        compress=compress,
        channels=channels,
        window_log=parse_window(window, "--window"),
        plain=plain,
        features=PlainFeatures(
            xbzrle_cache_bytes=parse_size(xbzrle_cache) if xbzrle_cache else None,
            auto_converge=auto_converge,
            post_copy=post_copy,
            multifd_channels=multifd,
            multifd_compression=multifd_compression,
            max_bandwidth_bps=_bandwidth_or_zero(max_bandwidth),
        ),
        compare_machines=compare,
        result_path=check_output(out, "--out", stream=True) if out else None,
        relay_folder=_folder(relay_folder),
        tls_folder=tls_dir.absolute() if tls_dir is not None else None,
        tls_hostname=tls_hostname or "",
        facts_log=check_output(facts_log, "--facts-log", stream=True) if facts_log else None,
        migration_id=checked_id(id),
    )
    if check:
        lines = asyncio.run(check_migration(options))
        typer.echo(json_library.dumps(lines) if json else "\n".join(lines) or "nothing was found against it")
        sys.exit(QmpError.exit_code if lines else 0)
    options = forecasted(options, Asked.of(auto, watch, forecast), json)
    handle = Handle(options)
    outside = Outside(lambda: handle.running, handle.change, metrics, log_json)
    with told(outside, "migrate"), view(json, quiet=log_json) as shown:
        _migrate(options, handle, outside, shown)


def _migrate(options: MigrateOptions, handle: Handle, outside: Outside, shown: View) -> None:
    def show(progress: Progress) -> None:
        outside.look()
        shown.show(progress)

    result, sentence = until_signal(lambda: migrate_live(options, show, handle=handle))
    if result is None:
        line = f"interrupted; {sentence}"
        outside.end(line, 130)
        if not outside.logs:
            complain(line)
        sys.exit(130)
    shown.finish(result)
    measures = ("outcome", "total_time_s", "downtime_s", "switchover_reason", "warnings")
    outside.end("", 0, {name: getattr(result, name) for name in measures})


def _bandwidth_or_zero(text: str | None) -> int | None:
    if text is None:
        return None
    return 0 if text.strip() == "0" else parse_bandwidth(text)


def _folder(path: Path | None) -> Path | None:
    """Find out before the migration, not during it. Raises UsageError."""
    if path is not None and not (path.is_dir() and os.access(path, os.W_OK | os.X_OK)):
        raise UsageError(f"--relay-folder {path}: no folder that can be written; make it, or name another")
    return path

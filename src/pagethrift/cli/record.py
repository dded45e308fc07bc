"""``pagethrift record``: a content-free dirtying trace of a live guest."""

from __future__ import annotations

import asyncio
import json as json_library
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pagethrift.cli.common import Connect, Json
from pagethrift.cli.ending import ending_signals
from pagethrift.cli.watched import guest_of
from pagethrift.errors import UsageError
from pagethrift.live.dry_run import Watched
from pagethrift.live.recorder import record as record_live
from pagethrift.live.recording import RecordOptions, RecordProgress
from pagethrift.model.defaults import SOURCE_URI
from pagethrift.trace.format import TraceHeader
from pagethrift.units import format_bytes, parse_seconds
from pagethrift.whole_file import check_output

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

LINE_S = 2.0


@app.command(
    epilog="Example: pagethrift record --qmp /run/vm1.qmp --out vm1.trace.parquet --seconds 60s\n\n"
    "Exit codes: 0 recorded, 2 usage, 3 stream, 4 the socket broke, 5 QEMU refused, 10 libvirt refused,"
    " 130 interrupted."
)
def record(
    out: Annotated[Path, typer.Option(help="Write the trace to this file.", metavar="FILE")],
    qmp: Annotated[
        str | None, typer.Option(help="The QMP unix socket of the QEMU.", metavar="SOCKET")
    ] = None,
    domain: Annotated[
        str | None, typer.Option(help="A running domain of this host's libvirt.", metavar="DOMAIN")
    ] = None,
    connect: Connect = SOURCE_URI,
    seconds: Annotated[str, typer.Option(help="How long to record after the first pass.")] = "60s",
    interval: Annotated[
        str, typer.Option(help="The time between two reads of the dirty bitmap; 0: as fast as QEMU can.")
    ] = "200ms",
    workload: Annotated[str, typer.Option(help="A note about what the guest does.")] = "",
    page_classes: Annotated[
        Path | None,
        typer.Option(
            help="A copy of the guest's /proc/kpageflags, made just before the recording.", metavar="FILE"
        ),
    ] = None,
    exact: Annotated[
        bool | None,
        typer.Option(
            "--exact/--estimate",
            help="Measure deltas to the byte, which keeps a copy of the guest's memory, or estimate them"
            " (default: exact if half the free memory suffices).",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Record which pages a running guest changes and by how much, without their content.

    The recorder starts a dry migration, which has no destination. The guest keeps running where it is, and
    QEMU's settings are restored. Ctrl-C ends the recording early and keeps what was recorded.
    """
    check_output(out, "--out")
    guest = guest_of(qmp, domain, connect)
    if guest is None:
        raise UsageError("give one of --qmp SOCKET and --domain NAME")
    options = RecordOptions(
        out=out,
        seconds=parse_seconds(seconds),
        interval_s=parse_seconds(interval),
        workload=workload,
        page_classes=page_classes,
        exact_deltas=exact,
    )
    header = asyncio.run(_interruptible(guest, options, json))
    if json:
        typer.echo(json_library.dumps({"type": "result", "path": str(out), **_summary(header)}))
    else:
        rows = sum(sweep.rows for sweep in header.sweeps)
        typer.echo(
            f"{out}: {len(header.sweeps)} sweeps, {rows} rows, {format_bytes(out.stat().st_size)},"
            f" deltas {header.delta_source}"
        )
        for warning in header.warnings:
            print(f"pagethrift: warning: {warning}", file=sys.stderr)
    if "interrupted" in header.warnings:
        sys.exit(130)


async def _interruptible(guest: Watched, options: RecordOptions, as_json: bool) -> TraceHeader:
    shown_s = 0.0

    def show(progress: RecordProgress) -> None:
        nonlocal shown_s
        if progress.elapsed_s - shown_s < LINE_S and progress.sweeps > 1:
            return
        shown_s = progress.elapsed_s
        if as_json:
            typer.echo(json_library.dumps({"type": "progress", **asdict(progress)}))
        else:
            typer.echo(
                f"{progress.elapsed_s:.0f} s, {progress.sweeps} sweeps, {progress.last_rows} pages in the"
                f" last, {progress.rows} rows so far"
            )

    task = asyncio.ensure_future(record_live(guest, options, show))
    loop = asyncio.get_running_loop()
    for number in ending_signals():
        loop.add_signal_handler(number, task.cancel)
    return await task


def _summary(header: TraceHeader) -> dict[str, object]:
    return {
        "sweeps": len(header.sweeps),
        "rows": sum(sweep.rows for sweep in header.sweeps),
        "memory_bytes": header.memory_bytes,
        "seconds": header.sweeps[-1].began_s,
        "delta_source": header.delta_source,
        "qemu_version": header.qemu_version,
        "warnings": list(header.warnings),
    }

"""``pagethrift simulate``: migrate a recorded guest over a virtual link."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pagethrift.cli.channels import DEFAULT_WINDOW, CompressOption, Window
from pagethrift.cli.common import (
    DEFAULT_DOWNTIME_LIMIT,
    DEFAULT_STRATEGY,
    Json,
    Parameters,
    ResultFile,
    StopName,
    StrategyName,
)
from pagethrift.cli.progress import summary
from pagethrift.errors import UsageError
from pagethrift.model.channels import CHANNELS, COMPRESSOR_BPS, Compress, parse_window
from pagethrift.simulator.simulate_options import SimulateOptions
from pagethrift.simulator.virtual_link import LinkSpec
from pagethrift.simulator.virtual_migration import simulate as simulate_trace
from pagethrift.strategies.table import parse_parameters
from pagethrift.strategies.table import strategy as strategy_row
from pagethrift.trace.read import read_trace
from pagethrift.units import parse_bandwidth, parse_seconds, parse_size
from pagethrift.whole_file import check_output, write_text

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    epilog="Example: pagethrift simulate vm1.trace.parquet --strategy pagethrift --bandwidth 100Mbit\n\n"
    "Exit codes: 0 simulated, also when the migration did not converge (see its outcome); 2 usage."
)
def simulate(
    trace: Annotated[
        Path, typer.Argument(help="A trace that pagethrift record or pagethrift lab record made.")
    ],
    bandwidth: Annotated[str, typer.Option(help="The rate of the virtual link, e.g. 1Gbit.")],
    strategy: StrategyName = DEFAULT_STRATEGY,
    param: Parameters = None,
    stop: StopName = None,
    downtime_limit: Annotated[
        str, typer.Option(help="The longest downtime that you accept.")
    ] = DEFAULT_DOWNTIME_LIMIT,
    delay: Annotated[str, typer.Option(help="The delay of the link in each direction.")] = "0ms",
    step: Annotated[
        list[str] | None,
        typer.Option(
            help="Change the link's rate at a time, e.g. 10s:50Mbit; repeatable.", metavar="TIME:RATE"
        ),
    ] = None,
    force_after: Annotated[
        str | None,
        typer.Option(
            help="Switch over after this virtual time, even if the predicted downtime is above the limit."
        ),
    ] = None,
    give_up: Annotated[
        str, typer.Option(help="The virtual time after which the migration counts as failed.")
    ] = "1h",
    as_live: Annotated[
        bool,
        typer.Option(
            "--as-live",
            help="Run other systems' strategies as the relay would, not as those systems define them.",
        ),
    ] = False,
    clear_chunk: Annotated[
        str,
        typer.Option(
            help="How much memory QEMU clears of the dirty log at once; 0: all at each sync, as without KVM."
        ),
    ] = "1GiB",
    speed: Annotated[float, typer.Option(help="How many times faster than recorded the guest runs.")] = 1.0,
    start: Annotated[str, typer.Option(help="The time in the trace at which the migration begins.")] = "0s",
    compress: CompressOption = Compress.AUTO,
    channels: Annotated[
        int | None,
        typer.Option(help=f"Compressed channels to the destination (default: {CHANNELS}).", metavar="N"),
    ] = None,
    window: Window = DEFAULT_WINDOW,
    compressor: Annotated[
        str, typer.Option(help="How many bytes of pages a second a channel compresses.", metavar="SIZE")
    ] = f"{COMPRESSOR_BPS / 1e6:g}MB",
    seed: Annotated[int, typer.Option(min=0, help="The seed that spreads writes within their sweep.")] = 0,
    out: ResultFile = None,
    json: Json = False,
) -> None:
    """Migrate a recorded guest over a virtual link.

    The strategies and the planner are the same as in a live migration.
    """
    if out is not None:
        check_output(out, "--out", stream=True)
    options = SimulateOptions(
        link=LinkSpec(
            parse_bandwidth(bandwidth), parse_seconds(delay), tuple(_step(text) for text in step or [])
        ),
        downtime_limit_s=parse_seconds(downtime_limit),
        force_after_s=parse_seconds(force_after) if force_after else None,
        give_up_s=parse_seconds(give_up),
        as_live=as_live,
        chunk_pages=0 if clear_chunk.strip() == "0" else max(1, parse_size(clear_chunk) // 4096),
        warm_up_s=parse_seconds(start),
        compress=compress,
        channels=CHANNELS if channels is None else channels,
        window_log=parse_window(window, "--window"),
        compressor_bps=parse_size(compressor),
    )
    if channels is not None and compress is Compress.OFF:
        raise UsageError("--channels is about compressed pages: not with --compress off")
    row = strategy_row(strategy, stop or "", **parse_parameters(param or ()))
    began_s = time.time()
    result = simulate_trace(read_trace(trace, seed).faster(speed), row, options)
    result = replace(result, began_unix_s=began_s, ended_unix_s=time.time())
    if out is not None:
        _write(out, result.to_json())
    if json:
        typer.echo(result.to_json(), nl=False)
        return
    width = max(len(name) for name, _ in summary(result))
    typer.echo(f"{'simulated':{width}}  {result.outcome}{f': {result.error}' if result.error else ''}")
    for name, value in summary(result):
        typer.echo(f"{name:{width}}  {value}")


def _step(text: str) -> tuple[float, float]:
    at, colon, rate = text.partition(":")
    if not colon:
        raise UsageError(f"{text!r} is not a step of the link; write it as 10s:50Mbit")
    return parse_seconds(at), parse_bandwidth(rate)


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise UsageError(f"--out {path}: {error.strerror}") from error

"""``pagethrift thin``: thin a stream from standard input to standard output."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from pagethrift.cli.common import DEFAULT_STRATEGY, Parameters, StrategyName, chosen_strategy
from pagethrift.engine.counters import Count
from pagethrift.engine.output import Output, PauseReason, drop_bytes, first_bytes
from pagethrift.engine.thinner import Thinner
from pagethrift.errors import StreamError, UsageError
from pagethrift.model.methods import Method
from pagethrift.stream.known_files import FIRST_BYTES, not_a_stream
from pagethrift.whole_file import check_output, write_text

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

PIPE_BYTES = 1 << 20
"""a pipe larger than the default 64 KiB (fcntl F_SETPIPE_SZ) saves context switches"""


@app.command(epilog="Example: pagethrift thin < guest.stream > thinned.stream")
def thin(
    strategy: StrategyName = DEFAULT_STRATEGY,
    param: Parameters = None,
    stats: Annotated[
        Path | None, typer.Option(help="Write the counters to this file as JSON.", metavar="FILE")
    ] = None,
) -> None:
    """Thin a stream from standard input to standard output.

    Exit codes: 0 done, 2 usage, 3 the stream breaks the format or uses a feature that thin refuses.
    """
    if stats is not None:
        check_output(stats, "--stats", stream=True)
    thinner = Thinner(chosen_strategy(strategy, param), secrets.token_bytes(32))
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("no stream on standard input; write pagethrift thin < FILE")
    source, target = sys.stdin.fileno(), sys.stdout.fileno()
    for descriptor in (source, target):
        _widen(descriptor)
    began_s = time.monotonic()
    try:
        _copy(thinner, source, target)
    finally:
        if stats is not None:
            _write(stats, json.dumps(_stats(thinner, time.monotonic() - began_s), indent=1) + "\n")
    if thinner.warning:
        print(f"pagethrift: warning: {thinner.warning}", file=sys.stderr)


def _copy(thinner: Thinner, source: int, target: int) -> None:
    output = Output()
    first = b""
    while True:
        try:
            progress = thinner.run(output, time.monotonic())
        except StreamError as error:
            while len(first) < FIRST_BYTES and (more := os.read(source, FIRST_BYTES - len(first))):
                first += more
            raise not_a_stream(error, first) from error
        pieces = output.pieces()
        while pieces:
            drop_bytes(pieces, os.writev(target, first_bytes(pieces, PIPE_BYTES)))
        output.clear()
        if progress is PauseReason.ENDED:
            return
        if progress is PauseReason.NEED_INPUT:
            room = thinner.room()
            count = os.readv(source, [room])
            first += bytes(room[: min(count, FIRST_BYTES - len(first))])
            thinner.received(count)


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise UsageError(f"--stats {path}: {error.strerror}") from error


def _widen(descriptor: int) -> None:
    import fcntl

    try:
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        return


def _stats(thinner: Thinner, elapsed_s: float) -> dict[str, float | str]:
    counters = thinner.counters
    return {
        "strategy": thinner.strategy.name,
        "elapsed_s": elapsed_s,
        "in_bytes": thinner.in_bytes,
        "out_bytes": counters.out_bytes,
        **{count.name.lower(): counters.of(count) for count in Count},
        **{f"{method.name.lower()}_pages": int(counters.by_method[method]) for method in Method},
    }

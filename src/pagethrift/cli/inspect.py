"""``pagethrift inspect``: show what a captured stream holds."""

from __future__ import annotations

import json as json_library
import stat
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from pagethrift.cli.common import Json
from pagethrift.errors import StreamError, UsageError
from pagethrift.model.pages import BlockTable, Kind
from pagethrift.results.label import label
from pagethrift.stream.events import BodyEnds, Pages, RamBegins, RamEnds, Raw
from pagethrift.stream.known_files import FIRST_BYTES, not_a_stream
from pagethrift.stream.reader import StreamReader
from pagethrift.units import format_bytes

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Example: pagethrift inspect guest.stream --json")
def inspect(
    stream: Annotated[
        Path, typer.Argument(help="A captured stream; QEMU writes one with migrate exec:cat>FILE.")
    ],
    json: Json = False,
) -> None:
    """Show what a captured stream holds: RAM blocks, page records by kind, sections.

    Of a stream that is cut short or holds something unknown, what comes before is shown.

    Exit codes: 0 a whole stream, 2 no such file, 3 not a migration stream, or one that is not understood to
    its end.
    """
    try:
        with _opened(stream) as file:
            summary, error = _summarise(file)
    except (OSError, ValueError) as failure:
        raise UsageError(
            f"cannot read {stream}: {getattr(failure, 'strerror', None) or failure}"
        ) from failure
    if error is None or summary["blocks"]:
        _show(summary, json)
    if error is not None:
        raise error


def _opened(path: Path) -> BinaryIO:
    kind = path.stat().st_mode
    if stat.S_ISDIR(kind):
        raise UsageError(f"{path} is a folder; name a file with a captured stream")
    if stat.S_ISSOCK(kind):
        raise UsageError(f"{path} is a socket; capture a stream with QEMU's migrate exec:cat>FILE")
    return path.open("rb")


def _show(summary: dict[str, Any], json: bool) -> None:
    if json:
        typer.echo(json_library.dumps(summary, indent=1))
        return
    console = Console()
    console.print(f"{format_bytes(summary['bytes'])}, {summary['sections']} RAM sections, "
                  f"{format_bytes(summary['tail_bytes'])} after RAM")  # fmt: skip
    table = Table("block", "size", "zero", "full", "xbzrle", "pages sent again", box=None)
    for block in summary["blocks"]:
        table.add_row(
            block["name"], format_bytes(block["bytes"]), str(block["zero"]), str(block["page"]),
            str(block["xbzrle"]), str(block["again"]),
        )  # fmt: skip
    console.print(table)
    for name, count in summary["other_sections"].items():
        console.print(f"beside RAM: {name}, {format_bytes(count)}", markup=False, highlight=False)


def _summarise(file: BinaryIO) -> tuple[dict[str, Any], StreamError | None]:
    """Return what was read, and the error that ended it, if any."""
    reader = StreamReader()
    table = BlockTable.of([])
    counts = np.zeros((0, 3), np.int32)
    sent_in_two = np.zeros(0, np.int32)
    """ZERO records followed by a delta, which pagethrift sends for a page that is mostly zero"""
    tail_bytes = sections = 0
    in_tail = False
    before: tuple[int, int] | None = None
    first, failure = b"", None
    try:
        while True:
            data = file.read(1 << 20)
            first = first or data[:FIRST_BYTES]
            for event in reader.feed(data):
                match event:
                    case RamBegins(found):
                        table = found
                        counts = np.zeros((table.total_pages, 3), np.int32)
                        sent_in_two = np.zeros(table.total_pages, np.int32)
                    case Pages(batch):
                        # a batch has no page twice: the second record of a pair begins one
                        counts[batch.page, batch.kind] += 1
                        if batch.kind[0] == Kind.XBZRLE and before == (batch.page[0], Kind.ZERO):
                            sent_in_two[batch.page[0]] += 1
                        before = (int(batch.page[-1]), int(batch.kind[-1]))
                    case BodyEnds():
                        sections += 1
                        before = None
                    case RamEnds():
                        in_tail = True
                    case Raw(raw) if in_tail:
                        tail_bytes += len(raw)
                    case _:
                        pass
            if not data:
                break
    except StreamError as error:
        failure = not_a_stream(error, first)
    blocks = []
    for block in table.blocks:
        part = counts[block.first_page : block.first_page + block.pages]
        kinds = {kind.name.lower(): int(part[:, kind].sum()) for kind in Kind}
        sent = part.sum(axis=1) - sent_in_two[block.first_page : block.first_page + block.pages]
        again = int(np.maximum(sent - 1, 0).sum())
        blocks.append(
            {
                "name": block.name.decode("ascii", "replace"),
                "bytes": block.used_bytes,
                **kinds,
                "again": again,
            }
        )
    summary = {
        "bytes": reader.offset,
        "sections": sections,
        "tail_bytes": tail_bytes,
        "blocks": blocks,
        "other_sections": {label(name): count for name, count in reader.other_bytes.items()},
    }
    return summary, failure

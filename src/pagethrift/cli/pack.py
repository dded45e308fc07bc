"""``pagethrift pack``: pack the result files of a study into one archive."""

from __future__ import annotations

import json as json_library
from pathlib import Path
from typing import Annotated

import typer

from pagethrift.cli.common import Json, left_out_line
from pagethrift.errors import UsageError
from pagethrift.given_file import read_json
from pagethrift.results.archive import write_archive
from pagethrift.results.find import ARCHIVE_SUFFIX
from pagethrift.results.label import label
from pagethrift.results.result import LARGEST_RESULT_BYTES, Result, from_json, unread
from pagethrift.units import format_bytes
from pagethrift.whole_file import check_output

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Example: pagethrift pack results/demo --out demo.parquet")
def pack(
    folder: Annotated[Path, typer.Argument(help="A folder with result files.", metavar="DIR")],
    out: Annotated[Path, typer.Option(help="The archive to write.", metavar="FILE.parquet")],
    json: Json = False,
) -> None:
    """Write all results of a folder into one Parquet file, a row for each.

    Nothing is lost: pack reads the file back and compares it before the file gets its name. The folder stays
    as it is.

    `pagethrift report FILE.parquet` shows the same as for the folder.

    Exit codes: 0 done, 2 no result files, one that cannot be read or packed, or FILE cannot be written.
    """
    if out.suffix != ARCHIVE_SUFFIX:
        raise UsageError(f"{out}: name the archive *{ARCHIVE_SUFFIX}, as other commands expect")
    check_output(out, "--out")
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name one with result files")
    results: list[tuple[str, Result]] = []
    left_out = []
    for path in sorted(folder.glob("*.json")):
        data = read_json(path, LARGEST_RESULT_BYTES)
        result = from_json(data, str(path))
        if result is None:
            left_out.append(label(path.name))
        elif lost := unread(data, result.to_data()):
            raise UsageError(
                f"{path}: {label(lost)} is unknown to this pagethrift; pack with the version that wrote it"
            )
        else:
            results.append((path.name, result))
    if not results:
        raise UsageError(f"no result files in {folder}; make some with pagethrift lab run")
    count = write_archive(results, folder.resolve().name, out)
    before_bytes = sum((folder / name).stat().st_size for name, _ in results)
    if json:
        sizes = {"results": count, "bytes": out.stat().st_size, "before_bytes": before_bytes}
        typer.echo(json_library.dumps({"file": str(out), **sizes, "left_out": left_out}))
        return
    typer.echo(
        f"{out}: {count} results, {format_bytes(out.stat().st_size)} instead of {format_bytes(before_bytes)}"
    )
    if left_out:
        typer.echo(left_out_line(left_out), err=True)

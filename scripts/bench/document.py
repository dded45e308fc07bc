"""``python -m scripts.bench.document docs/results``: tables of docs/performance.md, docs/signatures.md."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scripts.bench import signatures

MIB = 1 << 20
_CPU_ROWS = ("cat, pipes", "thin kvm-default, pipes", "thin thesis, pipes", "thin pagethrift, pipes")


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *(list(row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def with_range(figure: Mapping[str, float], digits: int) -> str:
    """Return median (minimum to maximum)."""
    median, low, high = (f"{figure[key]:.{digits}f}" for key in ("median", "min", "max"))
    return f"{median} ({low} to {high})"


def speed(document: Mapping[str, Any], key: str, title: str, digits: int, rows: Iterable[str] = ()) -> str:
    """Return one figure of all measures of a bench, a column for each mix."""
    mixes = document["mixes"]
    names = list(rows) or list(dict.fromkeys(name for mix in mixes.values() for name in mix["measures"]))
    cells = (
        [name, *(with_range(mix["measures"][name][key], digits) for mix in mixes.values())] for name in names
    )
    return markdown([title, *mixes], cells)


def start(built: Mapping[str, Any], compiled: Mapping[str, Any]) -> str:
    """Return the seconds to the first byte, with kernels built at set-up and with Numba's."""
    cells = (
        [name, *(with_range(each["first_byte_s"][name], 2) for each in (built, compiled))]
        for name in built["first_byte_s"]
    )
    return markdown(["first byte, s", "kernels built at set-up", "PAGETHRIFT_JIT=1"], cells)


def wheel(document: Mapping[str, Any]) -> str:
    """Return what a start of ``thin`` takes with each wheel, and how fast the kernels of one are."""
    starts = (
        [name, *(with_range(each[key], 2) for key in ("elapsed_s", "cpu_s"))]
        for name, each in document["thin"].items()
    )
    speeds = (
        [mix, *(with_range(each[name]["mb_per_s"], 0) for name in each),
         with_range(each["of the wheel"]["percent_of_native"], 0)]
        for mix, each in document["speed"].items()
    )  # fmt: skip
    kernels = [f"{name}, MB/s" for name in next(iter(document["speed"].values()))]
    return (
        markdown(["`thin` of 64 pages", "seconds", "CPU seconds"], starts)
        + "\n"
        + markdown(["mix", *kernels, "% of native"], speeds)
    )


def memory(document: Mapping[str, Any]) -> str:
    """Return peak memory by size of guest, then by step of the start."""
    guests = (
        [
            f"{each['guest_gib']} GiB{', scattered' if each['scattered'] else ''}",
            *(
                f"{each[key] / MIB:.1f}"
                for key in ("peak_rss_bytes", "rows_written_bytes", "state_bytes", "constant_bytes")
            ),
            f"{each['peak_rss_share_of_guest']:.2%}",
        ]
        for each in document["guests"]
    )
    steps = (
        [
            f"`{each['step']}`",
            *(f"{each[key] / MIB:.1f}" for key in ("rss_bytes", "rss_anon_bytes", "rss_file_bytes")),
        ]
        for each in document["imports"]
    )
    head = ["guest", "peak RSS MiB", "rows written", "states", "constant", "RSS / guest"]
    return markdown(head, guests) + "\n" + markdown(["after", "RSS MiB", "anonymous", "file"], steps)


def stages(document: Mapping[str, Any]) -> str:
    """Return the profile: nanoseconds a page in each stage, and the speed by size of batch."""
    mixes = document["mixes"]
    first = next(iter(mixes.values()))
    times = (
        [stage, *(with_range(mix["ns_per_page"][stage], 0) for mix in mixes.values())]
        for stage in first["ns_per_page"]
    )
    sizes = (
        [size, *(with_range(mix["batch_pages"][size]["mb_per_s"], 0) for mix in mixes.values())]
        for size in first["batch_pages"]
    )
    return markdown(["ns a page", *mixes], times) + "\n" + markdown(["MB/s, batches of", *mixes], sizes)


def link(document: Mapping[str, Any]) -> str:
    """Return the speed and cost of the outlet, plain and with TLS."""
    measures = document["measures"]
    cells = (
        [
            name.removesuffix(", TLS"),
            *(
                with_range(measures[each][key], digits)
                for key, digits in (("mb_per_s", 0), ("cpu_s_per_gb", 2))
                for each in (name.replace("TLS", "plain"), name)
            ),
        ]
        for name in measures
        if name.endswith(", TLS")
    )
    head = ["outlet", "plain, MB/s", "TLS, MB/s", "plain, CPU s a GB", "TLS, CPU s a GB"]
    return markdown(head, cells)


def compress(document: Mapping[str, Any]) -> str:
    """Return speed and share of a channel's compressor."""
    keys = (("mb_per_cpu_s", 0), ("new_percent", 1), ("again_percent", 1))
    cells = (
        [name, *(with_range(figures[key], digits) for key, digits in keys)]
        for name, figures in document["measures"].items()
    )
    return markdown(["pages, settings", "MB/s of one CPU", "new pages, %", "sent again, %"], cells)


def main(arguments: list[str] | None = None) -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.document", description=__doc__)
    parser.add_argument("results", type=Path, help="folder of bench*.json")
    folder = parser.parse_args(arguments).results

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
        return found

    bench = read("bench")
    for title, text in (
        ("Speed", speed(bench, "mb_per_s", "MB/s of input", 0)),
        ("CPU", speed(bench, "cpu_s_per_gb", "CPU s a GB", 2, _CPU_ROWS)),
        ("Compressor", compress(read("bench-compress"))),
        ("TLS", link(read("bench-link"))),
        ("Start", start(read("bench-cold-start"), read("bench-cold-start-jit"))),
        ("Wheel", wheel(read("bench-wheel"))),
        ("Memory", memory(read("bench-memory"))),
        ("Where the time goes", stages(read("bench-profile"))),
        ("Candidates", signatures.markdown(read("bench-signatures")) + "\n"),
    ):
        print(f"## {title}\n\n{text}")


if __name__ == "__main__":
    main()

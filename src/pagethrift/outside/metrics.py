"""The metrics of running relays and migrations, as Prometheus reads them.

Every number comes from the last status at the time of the scrape; nothing is counted here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from pagethrift import __version__
from pagethrift.errors import one_line
from pagethrift.model.running import NAME_MAX, Running

_ID = "migration"

_COUNTERS: Sequence[tuple[str, str, Callable[[Running], float | None]]] = (
    ("rounds", "Rounds that QEMU began after the first pass.", lambda r: r.round),
    ("received_bytes", "Read from the source QEMU.", lambda r: r.in_bytes),
    ("sent_bytes", "Handed to the link.", lambda r: r.out_bytes),
    ("refused_connections", "Callers that cannot belong to the migration.", lambda r: r.refused),
    ("errors", "Errors that ended the migration.", lambda r: int(r.failed)),
    ("relay_cpu_seconds", "Processor time of the relay.", lambda r: r.cpu_s),
)

_GAUGES: Sequence[tuple[str, str, Callable[[Running], float | None]]] = (
    ("start_time_seconds", "When it began, in Unix time.", lambda r: r.began_unix_s),
    ("guest_ram_bytes", "All RAM blocks that migrate.", lambda r: r.ram_bytes or None),
    ("remaining_bytes", "What QEMU has still to send in this round.",
     lambda r: r.remaining_bytes if r.ram_bytes else None),
    ("unsent_bytes", "What waits for the link.", lambda r: r.unsent_bytes),
    ("queue_seconds", "How long what waits for the link will take.", lambda r: r.queue_s),
    ("link_bytes_per_second", "The measured rate of the link.", lambda r: r.link_bps or None),
    ("bandwidth_cap_bytes_per_second", "The most that may go on the link, where an operator set one.",
     lambda r: r.bandwidth_cap_bps or None),
    ("held_pages", "Pages whose newest content waits in the relay.", lambda r: r.held_pages),
    ("held_bytes", "What the held pages would take on the link now.", lambda r: r.held_bytes),
    ("predicted_downtime_seconds", "Downtime of a switchover now, or of the one decided.",
     lambda r: r.predicted_downtime_s),
    ("downtime_limit_seconds", "The longest downtime accepted.", lambda r: r.downtime_limit_s or None),
    ("relay_peak_memory_bytes", "Peak memory of the relay.", lambda r: r.peak_rss_bytes or None),
    ("warning", "1 while there is a warning that an operator should read.", lambda r: int(bool(r.warning))),
)  # fmt: skip
"""name, what it is, its value; None: not known, and left out"""


class Migrations(Collector):
    """Makes the metric families of whatever ``running`` returns at the time of a scrape."""

    def __init__(self, running: Callable[[], Iterable[Running]]) -> None:
        self._running = running

    def collect(self) -> Iterator[Metric]:
        """Yield one family after the other."""
        now = list(self._running())
        info = InfoMetricFamily(
            "pagethrift_migration", "What migrates, and where to.",
            labels=[_ID, "kind", "guest", "source", "destination"],
        )  # fmt: skip
        state = GaugeMetricFamily(
            "pagethrift_state",
            "1 for the state it is in; other states have no sample.",
            labels=[_ID, "state"],
        )
        pages = CounterMetricFamily("pagethrift_pages", "Pages by how they travelled.", labels=[_ID, "kind"])
        sizes = CounterMetricFamily(
            "pagethrift_page_bytes",
            "Bytes of pages on the link, by how they travelled.",
            labels=[_ID, "kind"],
        )
        passes = CounterMetricFamily(
            "pagethrift_ram_bytes", "Bytes of pages on the link, sent first or again.", labels=[_ID, "pass"]
        )
        for each in now:
            info.add_metric(
                [each.id, each.kind.value, *map(_shown, (each.guest, each.source, each.destination))],
                {"version": __version__},
            )
            state.add_metric([each.id, each.state], 1)
            for kind, count in each.pages.named():
                pages.add_metric([each.id, kind], count)
            for kind, count in each.page_bytes.named():
                sizes.add_metric([each.id, kind], count)
            passes.add_metric([each.id, "first"], each.first_round_bytes)
            passes.add_metric([each.id, "again"], each.retransferred_bytes)
        yield from (info, state, pages, sizes, passes)
        for make, table in ((CounterMetricFamily, _COUNTERS), (GaugeMetricFamily, _GAUGES)):
            for name, said, value in table:
                family = make(f"pagethrift_{name}", f"{said}", labels=[_ID])
                for each in now:
                    found = value(each)
                    if found is not None:
                        family.add_metric([each.id], found)
                yield family


def _shown(name: str) -> str:
    """Return a name that somebody chose as a label: with what no encoding can hold replaced."""
    return one_line(name, NAME_MAX)


def registry(running: Callable[[], Iterable[Running]]) -> CollectorRegistry:
    """Return a registry with these metrics alone."""
    made = CollectorRegistry(auto_describe=False)
    made.register(Migrations(running))
    return made

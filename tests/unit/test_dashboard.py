"""The Grafana dashboard names metrics that exist, and can be read by Grafana."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pagethrift.outside.metrics import registry
from tests.dashboard import dashboard, metric_names, queries
from tests.unit.outside.test_metrics import RUNNING


def exposed() -> dict[str, set[str]]:
    """Return every metric of a scrape, with its labels."""
    text = generate_latest(registry(lambda: [RUNNING])).decode()
    found = {"pagethrift_bandwidth_cap_bytes_per_second": {"migration"}}
    for family in text_string_to_metric_families(text):
        found |= {sample.name: set(sample.labels) for sample in family.samples}
    return found


def test_all_metrics_that_it_names_exist() -> None:
    named = set().union(*map(metric_names, queries().values()))
    assert len(named) > 15
    assert named - exposed().keys() == set()


def test_every_metric_is_on_it() -> None:
    named = set().union(*map(metric_names, queries().values()))
    assert exposed().keys() - named == set()


def test_no_variable_is_left_and_every_query_can_be_narrowed_to_a_migration() -> None:
    for query in queries().values():
        assert "$" not in query
        assert query.count('migration=~".*"') == query.count("pagethrift_")


def test_its_panels_do_not_overlap_and_have_titles_and_numbers_of_their_own() -> None:
    panels = dashboard()["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)

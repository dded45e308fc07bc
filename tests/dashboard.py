"""Reading the Grafana dashboard: its queries, as Grafana would send them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).parents[1] / "contrib/grafana/pagethrift.json"
_VARIABLES = {"$migration": ".*", "$__rate_interval": "15s", "$__range": "5m"}


def dashboard() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return data


def queries() -> dict[str, str]:
    """Return every query with its variables filled in, by the panel's title and its letter there."""
    board = dashboard()
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel["targets"]
    }
    found |= {f"annotation {each['name']}": each["expr"] for each in board["annotations"]["list"]}
    for name, value in _VARIABLES.items():
        found = {title: query.replace(name, value) for title, query in found.items()}
    return found


def metric_names(query: str) -> set[str]:
    """Return the metrics that a query names."""
    return set(re.findall(r"\bpagethrift_\w+", query))

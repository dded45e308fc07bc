"""The Grafana dashboard against a real Prometheus that scrapes a real migration."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import LabError
from pagethrift.lab.guest import packages
from tests.dashboard import queries
from tests.qemu.live.pair import Pair
from tests.qemu.live.test_outside import free_address, seen

CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: pagethrift
    static_configs: [{{targets: ["{target}"]}}]
"""
MAY_BE_EMPTY = {"annotation errors"}
"""queries that find something only where a migration failed"""


class Prometheus:
    def __init__(self, address: str) -> None:
        self._address = address

    def ask(self, query: str) -> list[Any]:
        """Return what a query finds now."""
        asked = urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(f"http://{self._address}/api/v1/query?{asked}", timeout=10) as answer:
            data = json.load(answer)
        assert data["status"] == "success", data
        found: list[Any] = data["data"]["result"]
        return found


@contextlib.contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    try:
        program = packages.prometheus()
    except LabError as error:
        pytest.skip(f"NO PROMETHEUS HERE: the dashboard's queries are not run ({error})")
    configuration, address = folder / "prometheus.yml", free_address()
    configuration.write_text(CONFIGURATION.format(target=target))
    argv = [str(program), f"--config.file={configuration}", f"--storage.tsdb.path={folder}/tsdb"]
    argv += [f"--web.listen-address={address}", "--log.level=warn"]
    with (
        (folder / "prometheus.log").open("w") as log,
        subprocess.Popen(argv, stderr=log, stdout=log) as process,
    ):
        deadline_s = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"http://{address}/-/ready", timeout=5):
                    break
            except OSError:
                assert time.monotonic() < deadline_s, (folder / "prometheus.log").read_text()
                time.sleep(0.1)
        try:
            yield Prometheus(address)
        finally:
            process.terminate()


def test_every_query_finds_something_in_a_migration(pair: Pair) -> None:
    with seen(pair, "--compress", "off") as it, prometheus(pair.folder, it.address) as server:
        assert it.set("--bandwidth", "2MB/s").returncode == 0
        deadline_s = time.monotonic() + 30
        wanted = queries()
        empty = set(wanted)
        while empty - MAY_BE_EMPTY and time.monotonic() < deadline_s:
            empty = {title for title, query in wanted.items() if not server.ask(query)}
            time.sleep(0.5)
        assert empty - MAY_BE_EMPTY == set()
        (saved,) = server.ask(wanted["Saved by the relay A"])
        assert 0 < float(saved["value"][1]) < 1
        (row,) = server.ask(wanted["Migrations A"])
        assert (row["metric"]["migration"], row["metric"]["state"]) == (it.name, "active")
        assert it.set("--bandwidth", "unlimited", "--downtime-limit", "60s").returncode == 0
        it.end()

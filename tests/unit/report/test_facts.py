"""What the runs were made with, and where they differ."""

from __future__ import annotations

from pagethrift.model.result import HostFacts
from pagethrift.model.run_result import LinkRecord
from pagethrift.report.facts import machine_facts, mixed, mode_facts, scenario_facts
from pagethrift.report.runs import Run
from tests.unit.report.samples import client, migration, run


def of_host(repetition: int, **facts: str | int) -> Run:
    host = HostFacts(**facts)  # type: ignore[arg-type]
    return run(repetition=repetition, migration=migration(host=host, accelerator="tcg"))


def test_each_fact_once_sorted_and_only_those_known() -> None:
    runs = [of_host(0, python="3.12", memory_bytes=8_000_000_000), of_host(1, python="3.11"), of_host(2)]
    assert machine_facts(iter(runs)) == {
        "memory": ["8 GB"],
        "Python": ["3.11", "3.12"],
        "QEMU at the source": ["10.0.2"],
        "accelerator": ["tcg"],
    }


def test_where_runs_differ_is_a_sentence() -> None:
    assert mixed({"system": ["Linux 6"], "Python": ["3.11", "3.12"]}) == ["Python: 3.11; 3.12"]


def test_guest_link_and_load() -> None:
    shaped = migration(ram_bytes=512_000_000, bandwidth_bps=12_500_000.0)
    link = LinkRecord(12_500_000, (), 0.01, "netem", "none", "")
    runs = [
        run(migration=shaped, link=link, client=client(spec={"rate_per_s": 10.0, "clients": None})),
        run("xbzrle", client={}),
        run("pagethrift", client=client(spec={"rate_per_s": 20.0})),
    ]
    facts = scenario_facts(iter(runs))
    assert facts["guest RAM"] == ["512 MB"]
    assert facts["link"] == ["100 Mbit/s"]
    assert facts["downtime allowed"] == ["300 ms"]
    assert facts["load: rate_per_s"] == ["10.0", "20.0"]
    assert facts["load: clients"] == ["not set"]
    assert facts["link: delay_s"] == ["0.01"]
    assert mixed(facts) == ["load: rate_per_s: 10.0; 20.0"]


def test_what_each_mode_was_set_to() -> None:
    runs = [
        run("pagethrift", migration=migration("pagethrift", parameters={"margin": 0.5, "stop": "qemu"})),
        run("pagethrift", repetition=1, migration=migration("pagethrift", parameters={"margin": 9})),
        run("xbzrle", migration=migration("xbzrle", features={"xbzrle-cache-size": 4096})),
        run("plain"),
    ]
    assert mode_facts(runs) == {
        "xbzrle": "plain, qemu: xbzrle-cache-size = 4096",
        "plain": "plain, qemu",
        "pagethrift": "relay, pagethrift: margin = 0.5, stop = qemu",
    }


def test_names_of_untrusted_files_stay_on_one_line() -> None:
    facts = scenario_facts([run(client=client(spec={"a\nb": "c\nd"}))])
    assert facts["load: a\N{REPLACEMENT CHARACTER}b"] == ["c\N{REPLACEMENT CHARACTER}d"]

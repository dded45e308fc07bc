"""The tables: every row complete, every stop rule composable, what cannot run live refused."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest

from pagethrift.errors import UsageError
from pagethrift.model.methods import Allow
from pagethrift.strategies.base import Signing, Status
from pagethrift.strategies.stop_table import STOPS
from pagethrift.strategies.table import DEFAULT, TABLE, live_strategy, strategy
from tests.unit.strategies.facts import page_facts


def test_the_default_is_in_the_table() -> None:
    assert DEFAULT in TABLE
    assert not strategy(DEFAULT).refuses_live


@pytest.mark.parametrize("name", TABLE)
def test_a_row_names_itself_its_source_and_its_parameters(name: str) -> None:
    row = strategy(name)
    assert row.name == name
    assert row.source
    assert isinstance(row.status, Status)
    assert len(row.summary) < 80
    parameters = inspect.signature(TABLE[name]).parameters
    assert row.parameters == {key: value.default for key, value in parameters.items()}
    for key, value in row.parameters.items():
        other = value / 2 if value else 1.0
        changed = strategy(name, "", **{key: other})
        assert changed.parameters == row.parameters | {key: other}
        assert replace(changed, parameters=row.parameters) != row, f"{key} changes nothing"


@pytest.mark.parametrize("name", TABLE)
def test_each_migration_gets_its_own_row(name: str) -> None:
    first, second = strategy(name), strategy(name)
    assert first == second
    for answer in ("hold", "encode", "stop"):
        mine, other = getattr(first, answer), getattr(second, answer)
        assert mine is not other or not inspect.getmembers(mine, lambda value: isinstance(value, list | dict))


@pytest.mark.parametrize("name", TABLE)
def test_what_needs_signatures_asks_for_them(name: str) -> None:
    row = strategy(name)
    for facts in (page_facts(9, 3), page_facts(9, 3, last=True), page_facts(9, 4)):
        allowed = int(max([0, *_each(row.encode.allow(facts))]))
        if row.signing is Signing.NOTHING:
            assert not allowed & (Allow.SKIP | Allow.DELTA)
        if row.signing is Signing.SHA256:
            assert not allowed & Allow.DELTA


def _each(allowed: object) -> list[int]:
    return [int(value) for value in allowed] if hasattr(allowed, "__len__") else [int(allowed)]  # type: ignore


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("name", TABLE)
def test_every_stop_rule_fits_every_row(name: str, stop: str) -> None:
    row, changed = strategy(name), strategy(name, stop)
    assert changed.stop == STOPS[stop].make()
    assert (changed.hold, changed.encode, changed.parameters) == (row.hold, row.encode, row.parameters)
    assert (changed.stop_name, changed.stop_parameters) == (stop, STOPS[stop].parameters)
    assert not changed.qemu_decides
    assert bool(changed.refuses_live) == bool(row.refuses_live or STOPS[stop].refuses_live)


@pytest.mark.parametrize("name", STOPS)
def test_a_stop_rule_names_its_source_and_takes_its_parameters(name: str) -> None:
    row = STOPS[name]
    assert row.source
    assert len(row.summary) < 60
    for key, value in row.parameters.items():
        other = value / 2 if value else 1.0
        assert row.make(**{key: other}) != row.make()
        assert strategy("pagethrift", name, **{key: other}).stop_parameters[key] == other


def test_parameters_go_to_whom_they_belong() -> None:
    changed = strategy("pagethrift", "nova", hold_share=0.1, delay_s=30)
    assert changed.parameters["hold_share"] == 0.1
    assert changed.stop == STOPS["nova"].make(delay_s=30)
    assert changed.stop_parameters == {"downtime_s": 0.5, "steps": 10, "delay_s": 30}
    both = strategy("xen", "xen-libxl", rounds=7)
    assert both.parameters["rounds"] == both.stop_parameters["rounds"] == 7


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(UsageError, match=r"no strategy 'fastest'; choose one of .*pagethrift"):
        strategy("fastest")
    with pytest.raises(UsageError, match=r"no stop rule 'soon'; choose one of qemu, .*nova"):
        strategy("xen", "soon")
    with pytest.raises(UsageError, match="thesis has no parameter 'treshold'; it takes threshold, per_round"):
        strategy("thesis", "", treshold=1.0)
    with pytest.raises(UsageError, match="it takes none"):
        strategy("kvm-default", "", threshold=1.0)
    with pytest.raises(UsageError, match="xen has no parameter 'steps'; it takes share, rounds, pages"):
        strategy("xen", "", steps=3)


@pytest.mark.parametrize(
    ("name", "stop", "who", "instead"),
    [
        ("kvm-xbzrle", "", "strategy kvm-xbzrle", "--plain --xbzrle-cache"),
        ("kvm-auto-converge", "", "strategy kvm-auto-converge", "--plain --auto-converge"),
        ("kvm-post-copy", "", "strategy kvm-post-copy", "--plain --post-copy"),
        ("thesis-literal", "nova", "strategy thesis-literal", "--strategy thesis"),
        ("pagethrift", "auto-converge", "stop rule auto-converge", "--plain --auto-converge"),
        ("hu", "post-copy", "stop rule post-copy", "--plain --post-copy"),
    ],
)
def test_what_cannot_run_live_says_what_to_use(name: str, stop: str, who: str, instead: str) -> None:
    with pytest.raises(UsageError) as caught:
        live_strategy(name, stop)
    message = str(caught.value)
    assert message.startswith(who)
    assert instead in message
    assert "\n" not in message


def test_the_rest_can() -> None:
    live = {name for name in TABLE if not strategy(name).refuses_live}
    assert live == {
        "kvm-default", "xen", "xen-libxl", "hu", "lin", "tpo", "thesis", "cloudnet", "pagethrift",
    }  # fmt: skip
    for name in live:
        assert live_strategy(name) == strategy(name)


def test_what_is_permitted() -> None:
    everything = Allow.SKIP | Allow.DELTA | Allow.SPARSE | Allow.CHANNEL
    permitted = {
        name: strategy(name).encode.allow(page_facts(1, 3)) for name in TABLE if name != "kvm-xbzrle"
    }
    assert permitted["pagethrift"] == everything
    assert permitted["thesis"] == permitted["thesis-literal"] == Allow.SKIP
    assert permitted["cloudnet"] == Allow.SKIP | Allow.DELTA
    plain = {name for name, allow in permitted.items() if allow == Allow.NOTHING}
    assert plain == set(TABLE) - {"pagethrift", "thesis", "thesis-literal", "cloudnet", "kvm-xbzrle"}

"""Plans: what a file says, and one line for whatever is wrong in it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pagethrift.errors import UsageError
from pagethrift.evacuation.plan import AtDeadline, Plan, When, parse_when, read_plan

HEAD = 'bandwidth = "1Gbit"\ndeadline = "20min"\n'
GUEST = '[[guest]]\nname = "vm1"\nqmp = "/run/vm1.qmp"\nto = "host2:4444"\n'
DOMAIN = (
    '[[guest]]\nname = "vm2"\ndomain = "vm2"\ndesturi = "qemu+ssh://host2/system"\nforecast = "vm2.json"\n'
)


def plan(text: str) -> Plan:
    return read_plan(tomllib.loads(text))


def test_the_shortest_plan() -> None:
    found = plan(HEAD + GUEST)
    (guest,) = found.guests
    assert (guest.name, guest.qmp, guest.to, guest.destination) == ("vm1", "/run/vm1.qmp", "host2:4444", "")
    assert (guest.downtime_limit_s, guest.options, guest.by_libvirt) == (0.3, None, False)
    assert (found.links.host_bps, found.links.destinations) == (125e6, {"": 125e6})
    assert (found.deadline, found.concurrency, found.prestage) == (When(after_s=1200), 2, None)
    assert (found.watch_s, found.start_s) == (20.0, 1.0)
    assert found.at_deadline is AtDeadline.GO_ON


def test_every_key() -> None:
    found = plan(
        'concurrency = 3\ndowntime_limit = "500ms"\nat_deadline = "cancel"\nwatch = "5s"\nstart = "2s"\n'
        'bandwidth = "1Gbit"\ndeadline = 2026-12-01T22:00:00Z\n'
        '[prestage]\nbandwidth = "100Mbit"\nswitch = "10min"\n'
        '[[destination]]\nname = "h2"\nbandwidth = "500Mbit"\n[[destination]]\nname = "h3"\n'
        + GUEST
        + 'destination = "h2"\ndestination_qmp = "/run/new.qmp"\nincoming = "tcp:0.0.0.0:4444"\n'
        'downtime_limit = "1s"\nforce_after = "5min"\ngive_up_after = "10min"\noptions = ["--compress=off"]\n'
        'memory = "4GiB"\ndirty_rate = "20MB/s"\n' + DOMAIN + 'destination = "h3"\nprestage = false\n'
        'connect = "qemu:///session"\nmode = "pagethrift"\n'
    )
    first, second = found.guests
    assert found.deadline == When(at_unix_s=1796162400.0)
    assert found.links.destinations == {"h2": 62.5e6, "h3": 125e6}
    assert (first.downtime_limit_s, first.force_after_s, first.give_up_after_s) == (1.0, 300.0, 600.0)
    assert (first.memory_bytes, first.dirty_bps, first.options) == (4 << 30, 20_000_000, ("--compress=off",))
    assert (second.downtime_limit_s, second.forecast, second.mode) == (0.5, Path("vm2.json"), "pagethrift")
    assert (second.by_libvirt, second.connect, second.prestage) == (True, "qemu:///session", False)
    assert found.prestage is not None
    assert (found.prestage.bandwidth_bps, found.prestage.switch) == (12_500_000, When(after_s=600))
    assert (found.at_deadline, found.watch_s, found.concurrency) == (AtDeadline.CANCEL, 5.0, 3)
    assert found.start_s == 2.0


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('deadline = "1min"\n' + GUEST, "bandwidth is missing"),
        ('bandwidth = "1Gbit"\n' + GUEST, "deadline is missing"),
        ('bandwidth = "fast"\ndeadline = "1min"\n' + GUEST, "bandwidth: 'fast' is not a bandwidth"),
        ('bandwidth = "1Gbit"\ndeadline = "soon"\n' + GUEST, "deadline: 'soon' is no time; write 20min"),
        ('bandwidth = "1Gbit"\ndeadline = "0"\n' + GUEST, "deadline: '0' is no time to come"),
        (HEAD, "0 guests: give 1 to 1000"),
        (HEAD + GUEST + GUEST, "two guests have the name 'vm1'"),
        (HEAD + GUEST + GUEST.replace('"vm1"', '"vm9"'), "two guests have the qmp '/run/vm1.qmp'"),
        (HEAD + 'colour = "red"\n' + GUEST, "unknown key colour"),
        (HEAD + GUEST + 'colour = "red"\n', "unknown key guest[0].colour"),
        (HEAD + GUEST.replace('"vm1"', '"../vm1"'), "guest[0].name is '../vm1'; write up to 48 letters"),
        (HEAD + "concurrency = 0\n" + GUEST, "concurrency is 0; it must be 1 to 1000"),
        (HEAD + 'at_deadline = "explode"\n' + GUEST, "at_deadline is 'explode'; choose one of go on, cancel"),
        (HEAD + GUEST + 'downtime_limit = "0"\n', "guest[0].downtime_limit: '0' must be more than 0"),
        (HEAD + GUEST + 'domain = "x"\n', "guest[0] (vm1): give either qmp and to, or domain and desturi"),
        (HEAD + GUEST.replace('to = "host2:4444"\n', ""), "guest[0] (vm1): qmp needs to"),
        (HEAD + GUEST.replace("host2:4444", "host2"), "guest[0] (vm1): "),
        (HEAD + GUEST + 'desturi = "qemu:///x"\n', "desturi is for domain"),
        (HEAD + DOMAIN + 'incoming = "tcp:0:1"\n', "are for qmp, not for domain"),
        (HEAD + DOMAIN.replace('"vm2"\ndesturi', '"--all"\ndesturi'), "do not begin with -"),
        (HEAD + GUEST + 'options = ["--qmp=/x"]\n', "options: --qmp is not for this place"),
        (HEAD + GUEST + "options = [3]\n", "guest[0].options must be texts in quotes"),
        (HEAD + GUEST + 'memory = "1GiB"\n', "memory and dirty_rate belong together"),
        (
            HEAD + GUEST + 'destination = "h9"\n',
            "guest[0].destination is 'h9'; choose one of: none is declared",
        ),
        (HEAD + '[[destination]]\nname = "a"\n[[destination]]\nname = "b"\n' + GUEST, "choose one of: a, b"),
        (HEAD + '[[destination]]\nname = "a"\n[[destination]]\nname = "a"\n' + GUEST, "two of the name 'a'"),
        (HEAD + "[prestage]\n" + GUEST, "prestage.bandwidth is missing"),
        (HEAD + '[prestage]\nbandwidth = "1Gbit"\nswitch = "x"\n' + GUEST, "prestage.switch: 'x' is no time"),
        (HEAD + '[prestage]\nbandwidth = "1Gbit"\n' + DOMAIN, "guest vm2: libvirt's cannot be pre-staged"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(text)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_times() -> None:
    assert parse_when("90s").unix_s(1000.0) == 1090.0
    assert parse_when("2026-12-01T22:00:00+01:00").unix_s(1000.0) == 1796158800.0

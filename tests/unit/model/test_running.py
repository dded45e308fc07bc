"""What a status socket says, there and back, and what is no answer."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagethrift.errors import LinkError, QmpError, UsageError
from pagethrift.model.json_lines import LINE_MAX_BYTES
from pagethrift.model.relay_protocol import RelayState, RelayStatus
from pagethrift.model.result import PageCounters
from pagethrift.model.running import (
    NAME_MAX,
    RunKind,
    Running,
    decode_answer,
    encode_refusal,
    encode_running,
)

texts = st.text(max_size=NAME_MAX)
counts = st.integers(0, 2**63 - 1)
runs = st.builds(
    Running,
    id=texts,
    kind=st.sampled_from(RunKind),
    pid=counts,
    guest=texts,
    source=texts,
    destination=texts,
    state=texts,
    in_bytes=counts,
    out_bytes=counts,
    link_bps=st.floats(0, 1e15),
    pages=st.builds(PageCounters, counts, counts),
    predicted_downtime_s=st.none() | st.floats(0, 1e9),
    failed=st.booleans(),
    switchover=texts,
    warning=texts,
)


@settings(max_examples=80, deadline=None)
@given(running=runs)
def test_an_answer_there_and_back_in_one_line(running: Running) -> None:
    line = encode_running(running)
    assert len(line.splitlines()) == 1
    assert len(line) <= LINE_MAX_BYTES
    assert decode_answer(line) == running


def test_names_are_cut_so_that_the_line_can_be_read() -> None:
    long = "\U0001f40c" * 10_000
    line = encode_running(
        Running(long, guest=long, source=long, destination=long, warning=long, switchover=long)
    )
    assert decode_answer(line).guest == long[:NAME_MAX]


def test_a_refusal_is_raised_as_what_it_was() -> None:
    for error in (UsageError("too late"), QmpError("source: no")):
        with pytest.raises(type(error), match=str(error)):
            decode_answer(encode_refusal(error))


def answer(**changes: object) -> bytes:
    return json.dumps({"type": "running", "protocol": 1, "kind": "relay", **changes}).encode()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        answer(kind="lab"),
        answer(kind=None),
        answer(type="status"),
        answer(protocol=2),
        answer(pid=-1),
        answer(predicted_downtime_s="soon"),
        answer(failed=1),
        answer(guest=7),
        answer(type="refused"),
        answer(type="refused", error={"kind": 1, "message": "m"}),
    ],
)
def test_what_is_no_answer(line: bytes) -> None:
    with pytest.raises(LinkError, match=r"^a status socket said "):
        decode_answer(line)


def test_what_follows_from_the_fields() -> None:
    running = Running(in_bytes=200, out_bytes=50, unsent_bytes=30, link_bps=60.0)
    assert (running.ratio, running.queue_s) == (0.25, 0.5)
    unknown = Running(out_bytes=50, unsent_bytes=30)
    assert (unknown.ratio, unknown.queue_s) == (None, None)
    assert running.to_data()["queue_s"] == 0.5


def test_a_relays_counters_come_in() -> None:
    about = Running("id", guest="vm1", source="unix:/a", pid=7)
    status = RelayStatus(
        RelayState.FAILED,
        round=3,
        in_bytes=5,
        out_bytes=4,
        unsent_bytes=3,
        link_bps=2.0,
        held_pages=9,
        pages=PageCounters(full=1),
        page_bytes=PageCounters(full=4104),
        refused=2,
        warning="odd",
        downtime_limit_s=0.4,
        bandwidth_cap_bps=8.0,
        peak_rss_bytes=11,
    )
    running = about.with_relay(status)
    shared = {
        "round",
        "in_bytes",
        "out_bytes",
        "unsent_bytes",
        "link_bps",
        "held_pages",
        "pages",
        "page_bytes",
        "refused",
        "warning",
        "downtime_limit_s",
        "bandwidth_cap_bps",
        "peak_rss_bytes",
    }
    assert {name: getattr(running, name) for name in shared} == {n: getattr(status, n) for n in shared}
    assert (running.state, running.failed, running.guest, running.pid) == ("failed", True, "vm1", 7)
    assert not replace(about, failed=True).with_relay(RelayStatus()).failed

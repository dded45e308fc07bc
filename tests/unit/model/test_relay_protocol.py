"""What a relay says of itself, there and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagethrift.errors import LinkError
from pagethrift.model.relay_protocol import RelayState, RelayStatus

counts = st.integers(0, 2**62)
statuses = st.builds(
    RelayStatus,
    state=st.sampled_from(RelayState), now_s=st.floats(0, 1e9), in_bytes=counts, out_bytes=counts,
    link_bps=st.floats(0, 1e12), held_pages=counts, retransferred_pages=counts,
    error=st.text(), warning=st.text(),
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(status=statuses)
def test_there_and_back_in_one_line(status: RelayStatus) -> None:
    line = status.to_json()
    assert len(line.splitlines()) == 1
    assert RelayStatus.from_json(line) == status
    assert RelayStatus.from_json(line.encode() + b"\n") == status


def test_a_newer_relay_may_say_more() -> None:
    line = json.dumps({"state": "ram", "in_bytes": 5, "later_pages": [1, 2], "schema": None})
    assert RelayStatus.from_json(line) == RelayStatus(state=RelayState.RAM, in_bytes=5)


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "null", "7", '"ram"', "{}", '{"state": "asleep"}', '{"state": null}', '{"state": []}',
     '{"in_bytes": 1}', b"\xff\xfe", b"Traceback (most recent call last):"],
)  # fmt: skip
def test_what_is_no_status(line: str | bytes) -> None:
    with pytest.raises(LinkError, match="which is not a relay status") as caught:
        RelayStatus.from_json(line)
    assert "\n" not in str(caught.value)


def test_a_long_line_is_not_repeated_in_full() -> None:
    with pytest.raises(LinkError) as caught:
        RelayStatus.from_json("x" * 10_000)
    assert len(str(caught.value)) < 200

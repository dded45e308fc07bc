"""What driver and relay say to each other, there and back, and what is no message."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagethrift.errors import LinkError, UsageError
from pagethrift.model.error_data import KINDS, ErrorData
from pagethrift.model.json_lines import LINE_MAX_BYTES, TEXT_MAX
from pagethrift.model.relay_protocol import (
    PROTOCOL_VERSION,
    ROUND_MAX,
    AskStatus,
    BeginRound,
    Change,
    Go,
    OtherProtocol,
    RelayCommand,
    RelayEnd,
    RelayMessage,
    RelayState,
    RelayStatus,
    decode_command,
    decode_message,
    encode_command,
    encode_message,
)

counts = st.integers(0, 2**63 - 1)
seconds = st.floats(0, 1e12)
texts = st.text(max_size=TEXT_MAX)
statuses = st.builds(
    RelayStatus,
    state=st.sampled_from(RelayState), now_s=seconds, in_bytes=counts, out_bytes=counts,
    link_bps=seconds, held_pages=counts, retransferred_pages=counts, cpu_s=seconds, warning=texts,
)  # fmt: skip
ends = st.builds(
    RelayEnd,
    st.none()
    | st.builds(ErrorData, kind=st.sampled_from(sorted(KINDS)) | texts, message=texts,
                offset=st.none() | counts, expected=texts, got=texts),
)  # fmt: skip
limits, caps = st.floats(1e-6, 1e8), st.integers(0, 1 << 60)
changes = st.builds(Change, limits, st.none() | caps) | st.builds(Change, st.none(), caps)
commands = st.builds(BeginRound, st.integers(0, ROUND_MAX)) | st.just(Go()) | st.just(AskStatus()) | changes


@settings(max_examples=80, deadline=None)
@given(message=statuses | ends)
def test_messages_there_and_back_in_one_line(message: RelayStatus | RelayEnd) -> None:
    line = encode_message(message)
    assert line.endswith(b"\n")
    assert len(line.splitlines()) == 1
    assert len(line) <= LINE_MAX_BYTES
    assert decode_message(line) == message
    assert decode_message(line[:-1]) == message


@given(command=commands)
def test_commands_there_and_back_in_one_line(command: RelayCommand) -> None:
    line = encode_command(command)
    assert line.endswith(b"\n")
    assert len(line.splitlines()) == 1
    assert decode_command(line) == command


def test_the_documented_commands() -> None:
    assert decode_command(b'{"round": 3}') == BeginRound(3)
    assert decode_command(b'{"go": true}\r\n') == Go()
    assert decode_command(b' {"status": true} ') == AskStatus()
    assert decode_command(b'{"set": {"downtime_limit_s": 0.5}}') == Change(0.5)
    assert decode_command(b'{"set": {"bandwidth_bps": 0, "by": "me"}}') == Change(None, 0)


def test_what_is_not_known_is_ignored() -> None:
    assert decode_command(b'{"round": 0, "by": "qemu", "deep": [[{}]]}') == BeginRound(0)
    later = {"type": "status", "protocol": 1, "state": "ram", "in_bytes": 5, "later_pages": [1, 2]}
    assert decode_message(json.dumps(later).encode()) == RelayStatus(RelayState.RAM, in_bytes=5)
    error = {"kind": "weather", "message": "rain", "place": {"x": 1}}
    end = {"type": "end", "protocol": 1, "error": error, "mood": None}
    assert decode_message(json.dumps(end).encode()) == RelayEnd(ErrorData("weather", "rain"))


BROKEN = [
    b"", b"\n", b"{", b"[]", b"null", b"7", b'"go"', b"{}", b"\xff\xfe{\x00}", b'{"round": "\xff"}',
    b"[" * 30_000, b'{"round":' * 3000, b'{"round": ' + b"9" * 6000 + b"}",
    b'{"go": true}' + b" " * LINE_MAX_BYTES, b"Traceback (most recent call last):",
]  # fmt: skip
"""no message in either direction"""


@pytest.mark.parametrize(
    "line",
    [*BROKEN, b'{"round": 1e400}', b'{"round": -1}', b'{"round": "3"}', b'{"round": 3.0}', b'{"round": true}',
     b'{"round": null}', b'{"round": NaN}', b'{"round": 2147483648}', b'{"go": false}', b'{"go": 1}',
     b'{"status": "true"}', b'{"round": 3, "go": true}', b'{"pause": true}',
     b'{"set": {}}', b'{"set": 3}', b'{"set": {"downtime_limit_s": 0}}', b'{"set": {"downtime_limit_s": -1}}',
     b'{"set": {"downtime_limit_s": "1"}}', b'{"set": {"downtime_limit_s": 1e12}}',
     b'{"set": {"bandwidth_bps": 1.5}}', b'{"set": {"bandwidth_bps": -1}}', b'{"set": {"later": 1}}',
     b'{"set": {"bandwidth_bps": 1}, "go": true}'],
)  # fmt: skip
def test_what_is_no_command(line: bytes) -> None:
    with pytest.raises(UsageError, match=r"^ignored command ") as caught:
        decode_command(line)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def status_line(**changes: object) -> bytes:
    return json.dumps({"type": "status", "protocol": 1, "state": "ram", **changes}).encode()


@pytest.mark.parametrize(
    "line",
    [*BROKEN, status_line(state="asleep"), status_line(state=None), status_line(state=[]),
     status_line(type="mood"), status_line(type=["status"]), status_line(in_bytes="1"),
     status_line(in_bytes=-1), status_line(in_bytes=1.5), status_line(in_bytes=True),
     status_line(link_bps=float("inf")), status_line(link_bps=float("nan")), status_line(link_bps=-1.0),
     status_line(now_s=2**64), status_line(warning=7), status_line(protocol="1"),
     b'{"type": "status", "state": "ram"}',
     status_line(type="end", error="broken"), status_line(type="end", error={}),
     status_line(type="end", error={"kind": "link", "message": None}),
     status_line(type="end", error={"kind": "stream", "message": "m", "offset": "7"}),
     b'{"type": "status", "protocol": 1, "state": "ram", "link_bps": 1e400}'],
)  # fmt: skip
def test_what_is_no_message(line: bytes) -> None:
    with pytest.raises(LinkError, match=r"^the relay said ") as caught:
        decode_message(line)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@settings(max_examples=200, deadline=None)
@given(line=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_anything_is_read_or_refused(line: bytes) -> None:
    with contextlib.suppress(UsageError):
        decode_command(line)
    with contextlib.suppress(LinkError):
        decode_message(line)


def test_another_version_is_seen_before_anything_else_is_read() -> None:
    seen: RelayMessage = decode_message(b'{"protocol": 2, "type": "mood", "state": 7}')
    assert seen == OtherProtocol(2)
    assert json.loads(encode_message(RelayStatus()))["protocol"] == PROTOCOL_VERSION
    assert json.loads(encode_message(RelayEnd()))["protocol"] == PROTOCOL_VERSION


def test_long_texts_are_cut_so_that_the_line_can_be_read() -> None:
    long = "\U0001f40c" * 10_000
    line = encode_message(RelayEnd(ErrorData(long, long, 1, long, long)))
    end = decode_message(line)
    assert isinstance(end, RelayEnd)
    assert end.error is not None
    assert end.error.message == long[:TEXT_MAX]
    assert len(encode_message(RelayStatus(warning="w" * 10_000))) < 4096, "a pipe takes a status at once"


def test_lone_surrogates_are_no_trouble() -> None:
    message = RelayEnd(ErrorData("link", "caf\udce9"))
    assert decode_message(encode_message(message)) == message

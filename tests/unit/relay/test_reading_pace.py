"""Near a round's end the relay reads as slowly as the link; elsewhere it does not wait."""

from __future__ import annotations

import pytest

from pagethrift.relay.reading_pace import FIXED_S, LEAST_SHARE, ReadingPace

LINK_BPS, LIMIT_S, PAGE = 25e6, 0.3, 4096
CHUNK = 200_000


def read_on(pace: ReadingPace, pages_left: int | None, owed_bytes: int, seconds: float) -> float:
    """Read as fast as the pace lets us, which is 10 GB/s at most; return bytes a second."""
    now_s, in_bytes = 100.0, 0
    end_s = now_s + seconds
    while now_s < end_s:
        wait_s = pace.wait_s(now_s, in_bytes, pages_left, LINK_BPS, owed_bytes)
        if wait_s:
            now_s += wait_s
            continue
        in_bytes += CHUNK
        now_s += CHUNK / 10e9
    return in_bytes / seconds


def test_far_from_the_end_it_never_waits() -> None:
    assert read_on(ReadingPace(LIMIT_S, PAGE), 10_000_000, 0, 0.5) > 5e9


@pytest.mark.parametrize("pages_left", [0, 500])
def test_near_the_end_it_reads_as_the_link_carries(pages_left: int) -> None:
    rate_bps = read_on(ReadingPace(LIMIT_S, PAGE), pages_left, 0, 2.0)
    expected_bps = LINK_BPS * (LIMIT_S - FIXED_S) / LIMIT_S
    assert rate_bps == pytest.approx(expected_bps, rel=0.05)


def test_what_waits_for_the_link_is_taken_off() -> None:
    half = int(0.12 * LINK_BPS)
    assert read_on(ReadingPace(LIMIT_S, PAGE), 0, half, 2.0) == pytest.approx(
        LINK_BPS * (LIMIT_S - FIXED_S - 0.12) / LIMIT_S, rel=0.05
    )
    assert read_on(ReadingPace(LIMIT_S, PAGE), 0, 10**9, 2.0) == pytest.approx(
        LEAST_SHARE * LINK_BPS, rel=0.1
    )


@pytest.mark.parametrize(("pages_left", "link_bps"), [(None, LINK_BPS), (0, 0.0)])
def test_without_a_round_or_a_rate_it_never_waits(pages_left: int | None, link_bps: float) -> None:
    pace = ReadingPace(LIMIT_S, PAGE)
    assert all(pace.wait_s(100 + i / 1000, i * 10**8, pages_left, link_bps, 0) == 0 for i in range(100))


def test_time_that_was_not_used_is_not_made_up() -> None:
    """QEMU would see the burst."""
    pace = ReadingPace(LIMIT_S, PAGE)
    assert pace.wait_s(100.0, 0, 0, LINK_BPS, 0) == 0
    assert pace.wait_s(110.0, 0, 0, LINK_BPS, 0) == 0
    assert pace.wait_s(110.0, CHUNK, 0, LINK_BPS, 0) > 0

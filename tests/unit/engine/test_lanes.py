"""Lanes: what a page is bound to within an epoch, what its channel would cost, and what packets teach."""

from __future__ import annotations

import numpy as np
import pytest

from pagethrift.content.ledger import ALL_CHANGED
from pagethrift.engine.choice import ONLY_CHANNEL, Payload
from pagethrift.engine.lanes import FAR_SHARE, NEAR_HEAD_BYTES, NEAR_SHARE, WINDOW_SHARE, Lanes
from pagethrift.model.channels import HURRIED_SHARE, UNHURRIED_SHARE, ChannelSettings
from pagethrift.model.defaults import FAST_BPS
from pagethrift.model.methods import Allow, Method
from pagethrift.model.pages import I32, I64, PAGE_BYTES, U8

SUBPAGE = 256
ALL = Allow.SKIP | Allow.DELTA | Allow.SPARSE | Allow.CHANNEL
TOTAL = 4096
WINDOW_PAGES = int((1 << 20) * WINDOW_SHARE) // PAGE_BYTES


def lanes_of(channels: int = 1, window_log: int = 20) -> Lanes:
    return Lanes(ChannelSettings(channels=channels, window_log=window_log), TOTAL, SUBPAGE)


def restricted(lanes: Lanes, page: int, allowed: int = ALL) -> int:
    found: U8 = np.array([allowed], np.uint8)
    lanes.restrict(np.array([page]), found)
    return int(found[0])


def went(lanes: Lanes, pages: I64 | list[int], method: Method) -> int:
    pages = np.array(pages, np.int64)
    return lanes.mark(pages, np.full(len(pages), method, np.uint8))


def measured(lanes: Lanes, page: int, mask: int = ALL_CHANGED, allowed: int = ALL) -> tuple[I32, bool]:
    payloads = np.full((1, len(Payload)), 77, np.int32)
    masks = np.array([mask], np.uint32)
    lanes.measure(np.array([page]), masks, np.array([allowed], np.uint8), payloads)
    return payloads[0], bool(lanes.near[0])


def test_a_page_is_free_until_it_went_somewhere() -> None:
    lanes = lanes_of()
    assert restricted(lanes, 5) == ALL & ~Allow.SPARSE
    assert lanes.bound_pages == 0
    assert not lanes.in_channel(np.array([5]))


@pytest.mark.parametrize(
    ("method", "bound_to_channel"),
    [(m, m is Method.CHANNEL) for m in Method if m not in (Method.SKIP, Method.HOLD)],
)
def test_a_page_stays_in_its_lane_until_the_next_epoch(method: Method, bound_to_channel: bool) -> None:
    lanes = lanes_of()
    assert went(lanes, [5], method) == bound_to_channel
    expected = Allow.SKIP | Allow.CHANNEL | ONLY_CHANNEL if bound_to_channel else ALL & ~Allow.CHANNEL
    assert restricted(lanes, 5) == expected
    assert lanes.bound_pages == 1
    assert lanes.in_channel(np.array([4, 5])) is bound_to_channel
    assert restricted(lanes, 6) == ALL & ~Allow.SPARSE
    assert lanes.bound_pages == 1
    lanes.next_epoch()
    assert lanes.bound_pages == 0
    assert restricted(lanes, 5) == ALL & ~Allow.SPARSE
    assert not lanes.in_channel(np.array([5]))


@pytest.mark.parametrize("method", [Method.SKIP, Method.HOLD])
def test_what_was_not_sent_binds_nothing(method: Method) -> None:
    lanes = lanes_of()
    assert went(lanes, [5], method) == 0
    assert restricted(lanes, 5) == ALL & ~Allow.SPARSE
    went(lanes, [5], Method.CHANNEL)
    went(lanes, [5], method)
    assert restricted(lanes, 5) & ONLY_CHANNEL


@pytest.mark.parametrize("allowed", [Allow.NOTHING, Allow.DELTA, Allow.SPARSE | Allow.SKIP])
def test_a_strategy_that_changes_its_mind_cannot_move_a_page_out_of_its_channel(allowed: Allow) -> None:
    lanes = lanes_of()
    assert restricted(lanes, 5, allowed) == allowed
    went(lanes, [5], Method.CHANNEL)
    assert restricted(lanes, 5, allowed) == (allowed & Allow.SKIP) | Allow.CHANNEL | ONLY_CHANNEL
    went(lanes, [6], Method.FULL)
    before = lanes.bound_pages
    assert restricted(lanes, 6, allowed) == allowed, "it wants no other lane"
    assert lanes.bound_pages == before


def test_while_the_compressor_is_behind_free_pages_take_main_and_bound_ones_do_not() -> None:
    lanes = lanes_of()
    went(lanes, [5], Method.CHANNEL)
    lanes.compressing = False
    assert restricted(lanes, 6) == ALL & ~Allow.CHANNEL, "sparse records are worth it again"
    assert restricted(lanes, 5) & ONLY_CHANNEL


def test_a_page_that_never_went_is_far_and_may_be_a_delta() -> None:
    payloads, near = measured(lanes_of(), 0)
    assert not near
    assert payloads[Payload.CHANNEL] == int(FAR_SHARE * PAGE_BYTES)
    assert payloads[Payload.DELTA] == 77, "as measured for main"


@pytest.mark.parametrize(("since", "near"), [(1, True), (WINDOW_PAGES - 1, True), (WINDOW_PAGES, False)])
def test_a_copy_is_near_while_the_window_reaches_back_to_it(since: int, near: bool) -> None:
    lanes = lanes_of()
    went(lanes, [0], Method.CHANNEL)
    went(lanes, list(range(1, 1 + since)), Method.CHANNEL)
    payloads, found = measured(lanes, 0, mask=0b101)
    assert found is near
    if near:
        assert payloads[Payload.CHANNEL] == NEAR_HEAD_BYTES + int(2 * SUBPAGE * NEAR_SHARE)
        assert payloads[Payload.DELTA] == PAGE_BYTES, "the window is the better delta encoder"
    else:
        assert payloads[Payload.CHANNEL] == int(FAR_SHARE * PAGE_BYTES)
        assert payloads[Payload.DELTA] == 77


def test_a_quick_frame_reaches_no_copy_and_deltas_compete() -> None:
    lanes = lanes_of()
    went(lanes, [0], Method.CHANNEL)
    lanes.quick = True
    payloads, near = measured(lanes, 0, mask=0b1)
    assert not near
    assert payloads[Payload.DELTA] == 77


def test_a_new_frame_reaches_no_copy_of_the_one_before_it() -> None:
    lanes = lanes_of(channels=2)
    went(lanes, [0, 1, 128], Method.CHANNEL)
    lanes.begin_frame(0)
    went(lanes, [1], Method.CHANNEL)
    assert [measured(lanes, page)[1] for page in (0, 1, 128)] == [False, True, True]


def test_frames_are_quick_while_the_link_takes_more_pages_than_long_ones_manage() -> None:
    lanes, gbit, long_pages_per_s = lanes_of(), 125e6, 1e6
    pages = long_pages_per_s * FAR_SHARE * PAGE_BYTES
    more, less = HURRIED_SHARE * pages, UNHURRIED_SHARE * pages
    for bps, of, quick in ((0.99, more, False), (1.01, more, True), (1.01, less, True), (0.99, less, False)):
        link_bps = bps * of
        lanes.weigh(link_bps, long_pages_per_s)
        assert lanes.quick is quick, link_bps
    lanes.weigh(FAST_BPS - 1, 1.0)
    assert not lanes.quick, "a slow link leaves the processors time"
    for link_bps, quick in ((FAST_BPS, True), (0.85 * FAST_BPS, True), (0.75 * FAST_BPS, False)):
        lanes.weigh(link_bps, 1.0)
        assert lanes.quick is quick, "a link that is nearly fast does not cost a window again and again"
    for taken, quick in ((PAGE_BYTES, False), (200, True)):
        for _ in range(200):
            lanes.learn(0, int(lanes.far_bytes), taken)
        lanes.weigh(gbit, 3 * gbit / PAGE_BYTES / HURRIED_SHARE)
        assert lanes.quick is quick, "of smaller pages more fit"


def test_the_distance_counts_only_the_pages_of_the_same_channel() -> None:
    lanes = lanes_of(channels=2)
    went(lanes, [0], Method.CHANNEL)
    other = [page for page in range(TOTAL) if page >> 7 & 1][: 2 * WINDOW_PAGES]
    went(lanes, other, Method.CHANNEL)
    assert measured(lanes, 0)[1]
    assert not measured(lanes, other[0])[1]
    went(lanes, [page for page in range(1, TOTAL) if not page >> 7 & 1][:WINDOW_PAGES], Method.CHANNEL)
    assert not measured(lanes, 0)[1]


def test_the_distance_outlasts_epochs_and_copies_on_main() -> None:
    lanes = lanes_of()
    went(lanes, [0], Method.CHANNEL)
    lanes.next_epoch()
    went(lanes, [0], Method.DELTA)
    assert measured(lanes, 0)[1]


def test_a_page_with_unknown_changes_is_counted_whole() -> None:
    lanes = lanes_of()
    went(lanes, [0], Method.CHANNEL)
    expected = NEAR_HEAD_BYTES + int(PAGE_BYTES * NEAR_SHARE)
    assert measured(lanes, 0, mask=ALL_CHANGED)[0][Payload.CHANNEL] == expected
    assert measured(lanes, 0, mask=0)[0][Payload.CHANNEL] == NEAR_HEAD_BYTES
    without = Lanes(ChannelSettings(channels=1), TOTAL, 0)
    went(without, [0], Method.CHANNEL)
    assert measured(without, 0, mask=1)[0][Payload.CHANNEL] == expected


def test_a_page_that_may_not_be_compressed_is_not_estimated() -> None:
    lanes = lanes_of()
    went(lanes, [0], Method.CHANNEL)
    payloads, near = measured(lanes, 0, allowed=ALL & ~Allow.CHANNEL)
    assert not near
    assert (payloads[Payload.CHANNEL], payloads[Payload.DELTA]) == (PAGE_BYTES, 77)


def test_near_follows_batches_of_any_length() -> None:
    lanes = lanes_of()
    went(lanes, [3], Method.CHANNEL)
    for count in (1, 10, 4):
        pages = np.arange(count)
        payloads = np.zeros((count, len(Payload)), np.int32)
        lanes.measure(pages, np.full(count, 1, np.uint32), np.full(count, ALL, np.uint8), payloads)
        assert lanes.near[:count].tolist() == [page == 3 for page in range(count)]


def test_packets_that_take_less_teach_lower_estimates_and_the_other_kind_is_left_alone() -> None:
    lanes = lanes_of()
    lanes.learn(0, 200_000, 100_000)
    assert lanes.far_bytes == pytest.approx(FAR_SHARE * PAGE_BYTES * 0.95)
    assert lanes.near_share == NEAR_SHARE
    lanes.learn(10_000, 0, 20_000)
    assert lanes.near_share == pytest.approx(NEAR_SHARE * 1.1)
    assert lanes.far_bytes == pytest.approx(FAR_SHARE * PAGE_BYTES * 0.95)


def test_a_steady_ratio_is_reached() -> None:
    lanes = lanes_of()
    for _ in range(300):
        lanes.learn(0, int(100 * lanes.far_bytes), 100 * 1000)
    assert lanes.far_bytes == pytest.approx(1000, rel=0.02)


@pytest.mark.parametrize("taken", [0, 1, 10**9])
def test_estimates_stay_within_bounds_whatever_packets_take(taken: int) -> None:
    lanes = lanes_of()
    for _ in range(1000):
        lanes.learn(1000, 1000, taken)
    assert 16 <= lanes.far_bytes <= PAGE_BYTES
    assert 0.01 <= lanes.near_share <= 4
    went(lanes, [0], Method.CHANNEL)
    assert 0 < measured(lanes, 0, mask=1)[0][Payload.CHANNEL] <= PAGE_BYTES
    assert 0 < measured(lanes, 1)[0][Payload.CHANNEL] <= PAGE_BYTES


def test_a_packet_without_an_estimate_teaches_nothing() -> None:
    lanes = lanes_of()
    lanes.learn(0, 0, 5000)
    assert (lanes.far_bytes, lanes.near_share) == (FAR_SHARE * PAGE_BYTES, NEAR_SHARE)

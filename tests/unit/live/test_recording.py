"""The sweeps of a recording: pages belong to the round in which QEMU sent them, whenever they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pagethrift.errors import UsageError
from pagethrift.live.live_result import Identity
from pagethrift.live.recording import Recording, RecordOptions, RecordProgress, Round
from pagethrift.model.pages import PAGE_BYTES, BlockTable, Kind, PageBatch
from pagethrift.trace.read import read_trace

WHO = Identity("10.0.2", "", "pc", "tcg")
UNKNOWN = 1 << 62
PAGES = 8


class Sender:
    """Sends pages, each time with other content."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "t.parquet"
        self.seen: list[RecordProgress] = []
        self.recording = Recording(RecordOptions(self.path, interval_s=0.5), self.seen.append)
        self.recording.began_s = 100.0
        self.recording.begin(BlockTable.of([(b"pc.ram", PAGES * PAGE_BYTES)]))
        self._random = np.random.default_rng(1)

    def send(self, *pages: int, ends: int = UNKNOWN) -> None:
        n = len(pages)
        content = self._random.integers(1, 255, n * PAGE_BYTES, dtype=np.uint8)
        position, length = np.arange(n) * PAGE_BYTES, np.full(n, PAGE_BYTES, np.int32)
        kinds = np.full(n, Kind.PAGE, np.uint8)
        self.recording.add(PageBatch(np.array(pages), kinds, position, length, content), ends)

    def sweeps(self) -> list[list[int]]:
        """The pages of each sweep."""
        sweeps = read_trace(self.path).header.sweeps
        table = pq.read_table(self.path)
        sweep, page = table["sweep"].to_numpy(), table["page"].to_numpy()
        return [sorted(page[sweep == number].tolist()) for number in range(len(sweeps))]


@pytest.fixture
def sender(tmp_path: Path) -> Sender:
    return Sender(tmp_path)


def test_what_is_read_after_qemu_went_on_belongs_where_it_was_sent(sender: Sender) -> None:
    recording = sender.recording
    sender.send(0, 1, 2, 3, 4, 5, ends=8)
    recording.finished(Round(8, 100.0, 100.5))  # two pages of the first round wait unread
    assert sender.seen == []
    sender.send(6, 7, 3, ends=10)  # over the end in one batch
    assert len(sender.seen) == 1
    sender.send(4, ends=10)
    recording.finished(Round(10, 101.0, 101.2))
    recording.finished(Round(11, 102.0, 102.2))
    sender.send(5, 1, ends=12)
    recording.finished(Round(12, 103.0, 103.0))
    header = recording.finish(WHO)
    assert sender.sweeps() == [[0, 1, 2, 3, 4, 5, 6, 7], [3, 4], [5], [1]]
    assert [sweep.began_s for sweep in header.sweeps] == [0.0, 1.0, 2.0, 3.0]


def test_what_is_read_before_the_end_is_known_belongs_to_the_next_one(sender: Sender) -> None:
    sender.send(*range(8), 2, ends=8)
    sender.recording.finished(Round(8, 100.0, 100.5))
    sender.send(3)
    sender.recording.finished(Round(10, 101.0, 101.0))
    sender.recording.fill_up(Round(10, 102.0, 102.0))
    sender.recording.finish(WHO)
    assert sender.sweeps() == [list(range(8)), [2, 3], [], []]


def test_an_idle_guest_is_filled_up_to_what_can_be_played(sender: Sender) -> None:
    sender.send(*range(8), ends=8)
    sender.recording.finished(Round(9, 100.0, 100.5))  # QEMU's counters said one page more
    sender.recording.fill_up(Round(8, 101.0, 101.0))
    header = sender.recording.finish(WHO)
    assert sender.sweeps() == [list(range(8)), [], []]
    began_s = [sweep.began_s for sweep in header.sweeps]
    assert began_s == sorted(began_s)
    assert read_trace(sender.path).duration_s > 50, "quiet for as long as was asked"


def test_too_little_is_said_with_what_happened(sender: Sender) -> None:
    sender.send(*range(8), ends=8)
    sender.recording.finished(Round(8, 100.0, 100.5))
    sender.recording.warnings.append("interrupted")
    with pytest.raises(UsageError, match="too short to be played; interrupted"):
        sender.recording.finish(WHO)
    sender.recording.discard()
    assert list(sender.path.parent.iterdir()) == []

"""The inputs that fuzzing has kept (docs/fuzzing.md), and those that once failed, through every target."""

from __future__ import annotations

import warnings

import pytest

from pagethrift.engine import forwarder
from pagethrift.engine.source_channels import Channels
from pagethrift.errors import StreamError
from pagethrift.stream.events import Signal
from pagethrift.stream.input import Step, StreamInput
from pagethrift.stream.packets import Sync
from tests.fuzz import corpus
from tests.fuzz.targets import xbzrle
from tests.property.test_image import SeenInAnyRound

CRASHES = [(name, file) for name in corpus.NAMES for file in corpus.crashes(name)]


@pytest.mark.parametrize("name", corpus.NAMES)
def test_what_was_kept_is_harmless(name: str) -> None:
    target, count = corpus.target(name), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for data in (b"", *target.seeds(), *corpus.kept(name)):
            target.fuzz_one(data)
            count += 1
    assert count > 3


@pytest.mark.parametrize(("name", "file"), CRASHES)
def test_what_once_failed_no_longer_does(name: str, file: str) -> None:
    corpus.target(name).fuzz_one(corpus.crashes(name)[file])


def _failures(name: str) -> int:
    target, failed = corpus.target(name), 0
    for data in target.seeds():
        try:
            target.fuzz_one(data)
        except AssertionError:
            failed += 1
    return failed


@pytest.mark.parametrize("name", ["thinner", "multifd"])
def test_a_page_that_is_skipped_wrongly_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "Ledger", SeenInAnyRound)
    assert _failures(name) > 0


def test_pages_that_overtake_a_mark_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def passes(self: Channels, offset: int) -> bool:
        for channel in self.all:
            if isinstance(channel.event, Sync):
                self.give_back(channel)
        return True

    monkeypatch.setattr(Channels, "_pass", passes)
    assert _failures("multifd") > 0


def test_a_decoder_that_takes_more_than_its_twin_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xbzrle, "apply_delta", lambda *_: 0)
    assert _failures("xbzrle") > 0


def test_a_reader_that_depends_on_the_pieces_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StreamInput, "wait", _gives_up)
    assert _failures("reader") > 0


def _gives_up(self: StreamInput) -> Step[None]:
    if self.offset % 7 == 0:
        raise StreamError(self.offset, "more", "less")
    yield Signal.NEED_DATA
    if self.closed:
        raise StreamError(self.offset, "more", "its end")

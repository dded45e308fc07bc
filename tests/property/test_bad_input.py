"""Whatever the bytes: parsed, or StreamError; never a hang, never another exception."""

from __future__ import annotations

import random
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagethrift.engine.output import StreamPhase
from pagethrift.errors import StreamError
from pagethrift.stream.image import image
from pagethrift.stream.reader import StreamReader
from tests.streams import before, chaos, examples, random_stream, seeds, thin_in_pieces


def mutate(stream: bytes, rng: random.Random) -> bytes:
    data = bytearray(stream)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(min(200, len(data)))
        match rng.randrange(5):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                del data[at : at + rng.choice((1, 8, 4096))]
            case 3:
                data[at:at] = rng.randbytes(rng.choice((1, 4, 8)))
            case _:
                del data[at:]
        if not data:
            return b"\0"
    return bytes(data)


@settings(max_examples=examples(1000), deadline=None)
@given(seed=seeds)
def test_mutated_streams(seed: int) -> None:
    rng = random.Random(seed)
    stream = mutate(random_stream(seed % 1000, records=12), rng)
    problem: StreamError | None = None
    try:
        thinned, thinner = thin_in_pieces(stream, chaos(seed), seed)
    except StreamError as caught:
        problem = caught
    if problem is not None:
        assert 0 <= problem.offset <= len(stream)
        assert "\n" not in str(problem)
        return
    if thinner.phase is StreamPhase.PIPE:
        assert thinned == stream
        assert thinner.warning
        return
    assert (image(thinned, before).memory == image(stream, before).memory).all()


@settings(max_examples=examples(300), deadline=None)
@given(data=st.binary(max_size=300))
def test_garbage(data: bytes) -> None:
    """Nothing this short reaches the end of RAM."""
    reader = StreamReader()
    with pytest.raises(StreamError):
        list(chain(reader.feed(data), reader.feed(b"")))


@settings(max_examples=examples(50), deadline=None)
@given(seed=seeds)
def test_truncated_streams_say_so(seed: int) -> None:
    stream = random_stream(seed)
    ram_ends = len(stream) - len(image(stream).tail)
    cut = random.Random(seed).randrange(ram_ends)
    with pytest.raises(StreamError) as caught:
        thin_in_pieces(stream[:cut], chaos(seed), seed)
    assert caught.value.offset == cut
    assert caught.value.got == "its end"

"""The description of a load: its keys' popularity, its values and its schedule."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from pagethrift.errors import UsageError
from pagethrift.model.pages import F64
from pagethrift.toml_table import TomlTable
from pagethrift.units import MOST_SECONDS

HEADER = struct.Struct(">QQ")
"""first bytes of a value: key index and version, so that a wrong value can be identified"""
FILL_BATCH = 200
_CHUNK = 4096
_FILLER = b"the quick brown fox jumps over the lazy dog; "

I64 = npt.NDArray[np.int64]


class Distribution(StrEnum):
    """How operations choose their keys."""

    UNIFORM = "uniform"
    ZIPF = "zipf"


class Protocol(StrEnum):
    """The server's protocol."""

    MEMCACHED = "memcached"
    REDIS = "redis"


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """An open-loop load on one server: operations arrive whether or not earlier ones are answered.

    Raises UsageError when a value is impossible.
    """

    protocol: Protocol = Protocol.MEMCACHED
    keys: int = 100_000
    value_bytes: int = 1000
    distribution: Distribution = Distribution.UNIFORM
    zipf_theta: float = 0.99
    """the r-th most popular key has weight r**-theta; 0 is uniform"""
    set_share: float = 0.5
    """share of all operations that are sets; the others are gets"""
    same_value_share: float = 0.3
    """share of the sets that store the value that the key already has"""
    counters: int = 0
    """number of further keys with ASCII numbers that only count up"""
    increment_share: float = 0.0
    """share of all operations that add 1 to a counter, each equally likely; the others are sets and gets"""
    evicting: bool = False
    """the server may hold fewer than all keys: a get without a value is not a failure"""
    compressibility: float = 0.0
    """part of each value that is repeated text; the rest is random bytes"""
    rate_per_s: float = 3000.0
    """operations a second of all connections"""
    burst: int = 4
    """operations that arrive together, as when a web page needs several keys; bursts are Poisson
    arrivals. Measured with 3000 operations/s: 29 % of a virtual core with 1, 16 % with 4"""
    connections: int = 8
    """number of connections; each is a thread with its own disjoint set of keys"""
    duration_s: float | None = None
    """duration of the open loop; None = until told to stop"""
    seed: int = 1
    timeout_s: float = 120.0
    """after this time without an answer an operation is an error, and its connection is reopened"""
    max_backlog_s: float = 1.0
    """operations that are later than this are given up (counted as shed, with their latency so far),
    so that a long pause is not followed by a long overload"""
    max_batch: int = 64
    """most operations that go out together when they are due at once on one connection"""
    series_interval_s: float = 0.1

    def __post_init__(self) -> None:
        _check(1 <= self.keys <= 100_000_000, f"keys must be 1..1e8, not {self.keys}")
        _check(
            HEADER.size <= self.value_bytes <= 1_000_000,
            f"value_bytes must be {HEADER.size}..1000000, not {self.value_bytes}",
        )
        for name in ("set_share", "same_value_share", "increment_share", "compressibility"):
            _check(0 <= getattr(self, name) <= 1, f"{name} must be 0..1, not {getattr(self, name)}")
        _check(0 <= self.zipf_theta <= 5, f"zipf_theta must be 0..5, not {self.zipf_theta}")
        _check(
            0 < self.rate_per_s <= 1e6, f"rate_per_s must be above 0 and at most 1e6, not {self.rate_per_s}"
        )
        _check(1 <= self.connections <= min(self.keys, 256), "connections must be 1..256 and at most keys")
        _check(0 <= self.counters <= 100_000_000, f"counters must be 0..1e8, not {self.counters}")
        _check(
            self.increment_share == 0 or self.counters >= self.connections,
            f"increments need a counter for each of {self.connections} connections, not {self.counters}",
        )
        _check(0 <= self.seed < 1 << 63, f"seed must be 0..2^63-1, not {self.seed}")
        _check(1 <= self.burst <= 64, f"burst must be 1..64, not {self.burst}")
        _check(1 <= self.max_batch <= 1000, f"max_batch must be 1..1000, not {self.max_batch}")
        for name in ("duration_s", "timeout_s", "max_backlog_s", "series_interval_s"):
            seconds = getattr(self, name)
            _check(
                seconds is None or 0 < seconds <= MOST_SECONDS,
                f"{name} must be positive and at most {MOST_SECONDS:g}, not {seconds}",
            )

    def to_json(self) -> str:
        """Return the spec as one JSON object."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> LoadSpec:
        """Read a JSON object of fields; those left out keep their defaults.

        Raises UsageError for text that is not such an object.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"this is not a load spec: {error}") from error
        _check(isinstance(data, dict), "a load spec must be one JSON object")
        return TomlTable({key: value for key, value in data.items() if value is not None}, "load.").record(
            cls
        )


def key_name(index: int) -> bytes:
    """Return the memcached key of a key index."""
    return b"key-%08d" % index


def counter_name(index: int) -> bytes:
    """Return the key of a counter."""
    return b"count-%08d" % index


def key_value(spec: LoadSpec, index: int, version: int) -> bytes:
    """Return the ``spec.value_bytes`` bytes stored for a version of a key.

    Random bytes are SHAKE-128 of (seed, index, version): 3 µs for 1000 bytes, nothing to keep,
    and no two values share bytes that a compressor could find.
    """
    header = HEADER.pack(index, version)
    body_bytes = spec.value_bytes - HEADER.size
    random_bytes = round(body_bytes * (1 - spec.compressibility))
    body = hashlib.shake_128(header + spec.seed.to_bytes(8, "big", signed=True)).digest(random_bytes)
    filler_bytes = body_bytes - random_bytes
    return header + body + (_FILLER * (filler_bytes // len(_FILLER) + 1))[:filler_bytes]


def popularity(spec: LoadSpec) -> F64:
    """Return the probability of each key, shape (keys,); which keys are popular depends on the seed."""
    if spec.distribution is Distribution.UNIFORM:
        return np.full(spec.keys, 1 / spec.keys)
    weights = np.arange(1, spec.keys + 1, dtype=np.float64) ** -spec.zipf_theta
    return np.random.default_rng(spec.seed).permutation(weights / weights.sum())


@dataclass(frozen=True, slots=True)
class Operations:
    """Planned operations of one connection as parallel lists, in order of time."""

    after_ns: list[int]
    """intended start, after the beginning of the open loop"""
    key: list[int]
    """index into the connection's own keys or, for an increment, into its own counters"""
    is_set: list[bool]
    is_same: list[bool]
    """whether a set stores the value that the key already has"""
    is_increment: list[bool]


def plan(spec: LoadSpec, connection: int, weights: F64) -> Iterator[Operations]:
    """Yield the operations of one connection for ever, in chunks.

    ``weights`` are the probabilities of the connection's keys among all keys, so they do not sum to 1: a
    connection with popular keys gets more of the rate, and all together follow ``popularity``.
    """
    share = float(weights.sum())
    cumulated = np.cumsum(weights) / share
    mean_ns = 1e9 * spec.burst / (spec.rate_per_s * share)
    generator = np.random.default_rng((spec.seed, connection))
    counters = len(range(connection, spec.counters, spec.connections))
    began_ns = 0.0
    while True:
        times_ns = began_ns + np.cumsum(generator.exponential(mean_ns, _CHUNK // spec.burst))
        began_ns = float(times_ns[-1])
        times_ns = np.repeat(times_ns, spec.burst)
        count = len(times_ns)
        keys = np.searchsorted(cumulated, generator.random(count), side="right")
        is_set = generator.random(count) < spec.set_share
        is_same = is_set & (generator.random(count) < spec.same_value_share)
        keys = np.minimum(keys, len(weights) - 1)
        is_increment = np.zeros(count, np.bool_)
        if spec.increment_share:
            is_increment = generator.random(count) < spec.increment_share
            keys = np.where(is_increment, generator.integers(0, counters, count), keys)
        yield Operations(
            times_ns.astype(np.int64).tolist(),
            keys.tolist(),
            (is_set & ~is_increment).tolist(),
            (is_same & ~is_increment).tolist(),
            is_increment.tolist(),
        )


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise UsageError(message)

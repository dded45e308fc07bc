"""One connection of a load: it sends operations when they are due, and checks every returned value."""

from __future__ import annotations

import threading
import time

from pagethrift.errors import LabError
from pagethrift.lab.load.counter_check import CounterCheck, Counters
from pagethrift.lab.load.spec import FILL_BATCH, HEADER, LoadSpec, Operations, key_name, key_value, plan
from pagethrift.lab.load.stats import Kind, OperationLog, Outcome
from pagethrift.lab.load.stores import STORE_ERRORS, Address, Held, connect
from pagethrift.model.pages import F64

_LONGEST_SLEEP_S = 0.2
_RECONNECT_PAUSE_S = 0.05
_EXAMPLES = 5
_NEVER_NS = 1 << 62


class Connection:
    """One client connection and the keys that it alone writes, so that it knows every value."""

    def __init__(self, spec: LoadSpec, server: Address, number: int) -> None:
        self.spec = spec
        self.log = OperationLog()
        self.examples: list[str] = []
        """the first wrong values, in words"""
        self._number = number
        self._ended_ns = _NEVER_NS
        self._abort = threading.Event()
        self._indices = list(range(number, spec.keys, spec.connections))
        self._names = [key_name(index) for index in self._indices]
        self._versions = [0] * len(self._indices)
        self._doubtful: dict[int, set[int]] = {}
        """keys whose set was lost -> the versions that the server may hold"""
        self._store = connect(spec, server)
        self._counters = Counters(spec, self._store, number)

    def fill(self) -> None:
        """Store version 0 of all its keys; return once the server has taken the last one.

        Raises LabError when the server refuses.
        """
        try:
            for start in range(0, len(self._names), FILL_BATCH):
                part = range(start, min(start + FILL_BATCH, len(self._names)))
                self._store.fill({self._names[i]: self._value(i, 0) for i in part})
            last = len(self._names) - 1
            if self._store.get_many(self._names[last:]) != {self._names[last]: self._value(last, 0)}:
                raise LabError(f"the server lost {self._names[last].decode()} while it was filled")
            self._counters.fill()
        except STORE_ERRORS as error:
            raise LabError(f"filling the server failed: {error!r}") from error

    def held(self) -> Held:
        """Return the server's own count of its contents. Raises STORE_ERRORS."""
        return self._store.held()

    def check_counters(self) -> CounterCheck:
        """Compare the counters with the acknowledged increments; call at the end. Raises STORE_ERRORS."""
        return self._counters.check()

    def run(self, began_ns: int, weights: F64) -> None:
        """Send the planned operations when they are due, until told to end."""
        backlog_ns = int(self.spec.max_backlog_s * 1e9)
        for chunk in plan(self.spec, self._number, weights):
            at, size = 0, len(chunk.key)
            due_ns = [began_ns + after_ns for after_ns in chunk.after_ns]
            while at < size:
                now_ns = time.monotonic_ns()
                if due_ns[at] > self._ended_ns:
                    return
                if due_ns[at] > now_ns:
                    time.sleep(min((due_ns[at] - now_ns) / 1e9, _LONGEST_SLEEP_S))
                elif due_ns[at] < now_ns - backlog_ns or self._abort.is_set():
                    self.log.add(due_ns[at], now_ns, _kind(chunk, at), Outcome.SHED)
                    at += 1
                else:
                    at = self._batch(chunk, due_ns, at, now_ns)

    def end(self, ended_ns: int) -> None:
        """Send only operations that are due before ``ended_ns``; called from another thread."""
        self._ended_ns = ended_ns

    def abort(self) -> None:
        """Break the connection from another thread; a call that waits for an answer fails."""
        self._abort.set()
        self._store.abort()

    def close(self) -> None:
        """Close the connection."""
        self._store.close()

    def _batch(self, chunk: Operations, due_ns: list[int], at: int, now_ns: int) -> int:
        """Send the operations that are due, sets first; return the index of the first one not sent.

        An operation counts as answered when its whole batch is answered: never earlier than its own
        answer came.
        """
        sets: dict[int, int] = {}
        versions: dict[int, int] = {}
        gets: dict[int, list[int]] = {}
        increments: list[int] = []
        end = min(at + self.spec.max_batch, len(due_ns))
        while at < end and due_ns[at] <= now_ns:
            key = chunk.key[at]
            if chunk.is_increment[at]:
                increments.append(at)
            elif not chunk.is_set[at]:
                gets.setdefault(key, []).append(at)
            elif key in sets:
                break
            else:
                sets[key] = at
                versions[key] = self._versions[key] + (not chunk.is_same[at])
            at += 1
        answered = self._set(chunk, due_ns, sets, versions) if sets else True
        if increments:
            answered = self._increment(chunk, due_ns, increments, answered)
        if gets:
            self._get(due_ns, gets, answered)
        return at

    def _set(
        self, chunk: Operations, due_ns: list[int], sets: dict[int, int], versions: dict[int, int]
    ) -> bool:
        values = {self._names[key]: self._value(key, version) for key, version in versions.items()}
        try:
            refused = self._store.set_many(values)
        except STORE_ERRORS:
            done_ns = time.monotonic_ns()
            for key, at in sets.items():
                self.log.add(due_ns[at], done_ns, _kind(chunk, at), Outcome.LOST)
                self._doubtful.setdefault(key, {self._versions[key]}).add(versions[key])
                self._versions[key] = versions[key]
            return False
        done_ns = time.monotonic_ns()
        for key, at in sets.items():
            if self._names[key] in refused:
                # when memcached refuses a new item it drops the old one: a later get may miss
                self.log.add(due_ns[at], done_ns, _kind(chunk, at), Outcome.REFUSED)
                continue
            self._versions[key] = versions[key]
            if self._doubtful:
                self._doubtful.pop(key, None)
            self.log.add(due_ns[at], done_ns, _kind(chunk, at), Outcome.OK)
        return True

    def _increment(self, chunk: Operations, due_ns: list[int], ats: list[int], answered: bool) -> bool:
        if not answered and self._abort.wait(_RECONNECT_PAUSE_S):
            self._log_all(due_ns, ats, Kind.INCREMENT, Outcome.SHED)
            return False
        try:
            outcomes = self._counters.increment([chunk.key[at] for at in ats])
        except STORE_ERRORS:
            self._log_all(due_ns, ats, Kind.INCREMENT, Outcome.LOST)
            return False
        done_ns = time.monotonic_ns()
        for at, outcome in zip(ats, outcomes, strict=True):
            self.log.add(due_ns[at], done_ns, Kind.INCREMENT, outcome)
        return True

    def _get(self, due_ns: list[int], gets: dict[int, list[int]], answered: bool) -> None:
        ats = [at for same_key in gets.values() for at in same_key]
        # once aborted, do not connect again: the end of the run would wait for an answer
        if not answered and self._abort.wait(_RECONNECT_PAUSE_S):
            self._log_all(due_ns, ats, Kind.GET, Outcome.SHED)
            return
        try:
            values = self._store.get_many([self._names[key] for key in gets])
        except STORE_ERRORS:
            self._log_all(due_ns, ats, Kind.GET, Outcome.LOST)
            self._abort.wait(_RECONNECT_PAUSE_S)
            return
        done_ns = time.monotonic_ns()
        for key, same_key in gets.items():
            outcome = self._judge(key, values.get(self._names[key]))
            for at in same_key:
                self.log.add(due_ns[at], done_ns, Kind.GET, outcome)

    def _log_all(self, due_ns: list[int], ats: list[int], kind: Kind, outcome: Outcome) -> None:
        now_ns = time.monotonic_ns()
        for at in ats:
            self.log.add(due_ns[at], now_ns, kind, outcome)

    def _judge(self, key: int, value: bytes | None) -> Outcome:
        if value is None:
            return Outcome.MISSING
        if value == self._value(key, self._versions[key]):
            return Outcome.OK
        for version in self._doubtful.pop(key, ()):
            if value == self._value(key, version):
                self._versions[key] = version
                return Outcome.OK
        if len(self.examples) < _EXAMPLES:
            self.examples.append(self._explain(key, value))
        return Outcome.WRONG

    def _explain(self, key: int, value: bytes) -> str:
        wanted = f"{self._names[key].decode()} should hold version {self._versions[key]}"
        if len(value) != self.spec.value_bytes:
            return f"{wanted}, holds {len(value)} bytes"
        index, version = HEADER.unpack_from(value)
        whole = value == key_value(self.spec, index, version)
        return f"{wanted}, holds {'' if whole else 'a damaged '}version {version} of key {index}"

    def _value(self, key: int, version: int) -> bytes:
        return key_value(self.spec, self._indices[key], version)


def _kind(chunk: Operations, at: int) -> Kind:
    if chunk.is_increment[at]:
        return Kind.INCREMENT
    if not chunk.is_set[at]:
        return Kind.GET
    return Kind.SAME_SET if chunk.is_same[at] else Kind.SET

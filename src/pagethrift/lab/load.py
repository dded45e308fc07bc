"""Load a memcached, open loop, and measure what its clients see.

    python -m pagethrift.lab.load --server 10.99.0.10:11211 --spec spec.json --out out.json

Runs as a process of its own inside the clients' network namespace. It fills all keys, prints
``{"event": "loaded", ...}`` and then sends operations on a schedule of its own until
``duration_s`` is over, SIGTERM, or a line ``{"stop": true}`` on stdin; ``{"phase": "during"}``
there begins a phase. Every phase is confirmed by a line on stdout with its time.

Exit codes: 0 done, 2 impossible spec, 6 the server does not hold the keys.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError

from pagethrift.errors import LabError, PagethriftError, UsageError
from pagethrift.lab.load_spec import F64, HEADER, LoadSpec, Operations, key_name, key_value, plan, popularity
from pagethrift.lab.load_stats import Kind, OperationLog, Outcome, Phase, summarise

FILL_BATCH = 200
DRAIN_S = 15.0
"""after a stop, answers still outstanding get so long"""
_LONGEST_SLEEP_S = 0.2
_RECONNECT_PAUSE_S = 0.05
_EXAMPLES = 5
_NEVER_NS = 1 << 62

Address = tuple[str, int] | str


def parse_server(text: str) -> Address:
    """Return (host, port) or the path of ``unix:PATH``.

    Raises UsageError when the text is neither.
    """
    if text.startswith("unix:") and len(text) > 5:
        return text[5:]
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"{text!r} is not a server; write HOST:PORT or unix:PATH")
    return host.strip("[]"), int(port)


class Connection:
    """One client connection and the keys it alone writes, so it knows every value."""

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
        """keys whose set was lost: versions the server may hold"""
        self._client = Client(server, connect_timeout=10, timeout=spec.timeout_s, no_delay=True)

    def fill(self) -> None:
        """Store version 0 of all its keys; returns once the server has taken the last one.

        Raises LabError when the server refuses.
        """
        try:
            for start in range(0, len(self._names), FILL_BATCH):
                part = range(start, min(start + FILL_BATCH, len(self._names)))
                self._client.set_many({self._names[i]: self._value(i, 0) for i in part}, noreply=True)
            last = len(self._names) - 1
            if self._client.get(self._names[last]) != self._value(last, 0):
                raise LabError(f"memcached lost {self._names[last].decode()} while it was filled")
        except (MemcacheError, OSError) as error:
            raise LabError(f"filling memcached failed: {error!r}") from error

    def stats(self) -> dict[str, Any]:
        """Return the server's statistics by name."""
        return {key.decode(): value for key, value in self._client.stats().items()}

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
        """Send only what is due until ``ended_ns``; called from another thread."""
        self._ended_ns = ended_ns

    def abort(self) -> None:
        """Break the connection from another thread; a call that waits for an answer fails."""
        self._abort.set()
        sock = self._client.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _batch(self, chunk: Operations, due_ns: list[int], at: int, now_ns: int) -> int:
        """Send what is due, sets first; return the index of the first operation not taken.

        An operation counts as answered when the whole batch of its kind is: never earlier than
        its answer came.
        """
        sets: dict[int, int] = {}
        versions: dict[int, int] = {}
        gets: dict[int, list[int]] = {}
        end = min(at + self.spec.max_batch, len(due_ns))
        while at < end and due_ns[at] <= now_ns:
            key = chunk.key[at]
            if not chunk.is_set[at]:
                gets.setdefault(key, []).append(at)
            elif key in sets:
                break
            else:
                sets[key] = at
                versions[key] = self._versions[key] + (not chunk.is_same[at])
            at += 1
        answered = self._set(chunk, due_ns, sets, versions) if sets else True
        if gets:
            self._get(due_ns, gets, answered)
        return at

    def _set(
        self, chunk: Operations, due_ns: list[int], sets: dict[int, int], versions: dict[int, int]
    ) -> bool:
        values = {self._names[key]: self._value(key, version) for key, version in versions.items()}
        try:
            refused = self._client.set_many(values, noreply=False)
        except (MemcacheError, OSError):
            done_ns = time.monotonic_ns()
            for key, at in sets.items():
                self.log.add(due_ns[at], done_ns, _kind(chunk, at), Outcome.LOST)
                self._doubtful.setdefault(key, {self._versions[key]}).add(versions[key])
                self._versions[key] = versions[key]
            return False
        done_ns = time.monotonic_ns()
        for key, at in sets.items():
            if refused and self._names[key] in refused:
                # memcached drops the old item when it refuses the new one: a later get may miss
                self.log.add(due_ns[at], done_ns, _kind(chunk, at), Outcome.REFUSED)
                continue
            self._versions[key] = versions[key]
            if self._doubtful:
                self._doubtful.pop(key, None)
            self.log.add(due_ns[at], done_ns, _kind(chunk, at), Outcome.OK)
        return True

    def _get(self, due_ns: list[int], gets: dict[int, list[int]], answered: bool) -> None:
        # once aborted, a connection opened anew would make the end of the run wait for an answer again
        if not answered and self._abort.wait(_RECONNECT_PAUSE_S):
            self._log_gets(due_ns, gets, Outcome.SHED)
            return
        try:
            values = self._client.get_many([self._names[key] for key in gets])
        except (MemcacheError, OSError):
            self._log_gets(due_ns, gets, Outcome.LOST)
            self._abort.wait(_RECONNECT_PAUSE_S)
            return
        done_ns = time.monotonic_ns()
        for key, ats in gets.items():
            outcome = self._judge(key, values.get(self._names[key]))
            for at in ats:
                self.log.add(due_ns[at], done_ns, Kind.GET, outcome)

    def _log_gets(self, due_ns: list[int], gets: dict[int, list[int]], outcome: Outcome) -> None:
        now_ns = time.monotonic_ns()
        for ats in gets.values():
            for at in ats:
                self.log.add(due_ns[at], now_ns, Kind.GET, outcome)

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


class Load:
    """A whole run: fill, open loop with phases, result."""

    def __init__(self, spec: LoadSpec, server: Address) -> None:
        self.spec = spec
        self.phases: list[Phase] = []
        self._connections = [Connection(spec, server, number) for number in range(spec.connections)]
        self._threads: list[threading.Thread] = []
        self._cpu_began_s = 0.0

    def fill(self) -> dict[str, Any]:
        """Store all keys and check that the server holds them; return facts for a log line.

        Raises LabError when the server does not hold exactly these keys.
        """
        began_s = time.monotonic()
        for connection in self._connections:
            connection.fill()
        stats = self._connections[0].stats()
        held, evictions = int(stats["curr_items"]), int(stats["evictions"])
        if held != self.spec.keys:
            raise LabError(
                f"memcached holds {held} items instead of {self.spec.keys} ({evictions} evicted); "
                "give it more memory (-m) or an empty start"
            )
        return {"items": held, "took_s": time.monotonic() - began_s, "bytes": int(stats["bytes"])}

    def start(self, phase: str = "before") -> None:
        """Begin the open loop."""
        weights = popularity(self.spec)
        self._cpu_began_s = time.process_time()
        began_ns = time.monotonic_ns()
        self.phases.append(Phase(phase, began_ns / 1e9))
        for number, connection in enumerate(self._connections):
            own = weights[number :: self.spec.connections]
            thread = threading.Thread(target=connection.run, args=(began_ns, own), daemon=True)
            thread.start()
            self._threads.append(thread)

    def phase(self, name: str) -> Phase:
        """Begin a phase now and return it."""
        self.phases.append(Phase(name, time.monotonic()))
        return self.phases[-1]

    def finish(self, drain_s: float = DRAIN_S) -> dict[str, Any]:
        """Send what was due until now, wait up to ``drain_s`` for answers, return the result."""
        ended_ns = time.monotonic_ns()
        ended_s = ended_ns / 1e9
        for connection in self._connections:
            connection.end(ended_ns)
        for thread in self._threads:
            thread.join(max(0.0, ended_s + drain_s - time.monotonic()))
        for connection in self._connections:
            connection.abort()
        for connection, thread in zip(self._connections, self._threads, strict=True):
            thread.join(2)
            connection.close()
        cpu_s = time.process_time() - self._cpu_began_s
        result = summarise(self.spec, [c.log for c in self._connections], self.phases, ended_s)
        result["generator_cpu_share"] = cpu_s / (time.monotonic() - self.phases[0].began_s)
        result["wrong_examples"] = [text for c in self._connections for text in c.examples]
        return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="pagethrift.lab.load", description="open-loop memcached load")
    parser.add_argument("--server", required=True, help="HOST:PORT or unix:PATH")
    parser.add_argument("--spec", type=Path, help="JSON file with fields of LoadSpec")
    parser.add_argument("--out", type=Path, required=True, help="result file (JSON)")
    options = parser.parse_args(arguments)
    commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: commands.put({"stop": True}))
    try:
        spec = LoadSpec.from_json(options.spec.read_text()) if options.spec else LoadSpec()
        load = Load(spec, parse_server(options.server))
        _say({"event": "loaded", "at_s": time.monotonic(), **load.fill()})
        threading.Thread(target=_read_commands, args=(sys.stdin, commands), daemon=True).start()
        load.start()
        _say({"event": "phase", "name": load.phases[0].name, "at_s": load.phases[0].began_s})
        _obey(load, commands)
        result = load.finish()
    except PagethriftError as error:
        print(f"pagethrift lab load: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"pagethrift lab load: {error}", file=sys.stderr)
        return UsageError.exit_code
    draft = options.out.with_name(options.out.name + ".new")
    draft.write_text(json.dumps(result) + "\n")
    os.replace(draft, options.out)
    shown = ("operations", "operations_per_s", "errors", "wrong", "missing", "shed", "blackout_s")
    _say({"event": "done", "at_s": time.monotonic(), **{name: result[name] for name in shown}})
    return 0


def _obey(load: Load, commands: queue.SimpleQueue[dict[str, Any]]) -> None:
    left_s = None if load.spec.duration_s is None else load.spec.duration_s
    ends_s = None if left_s is None else load.phases[0].began_s + left_s
    while True:
        # bounded waits: a signal handler runs only between waits
        wait_s = 0.25 if ends_s is None else min(0.25, ends_s - time.monotonic())
        if wait_s <= 0:
            return
        try:
            command = commands.get(timeout=wait_s)
        except queue.Empty:
            continue
        if command.get("stop"):
            return
        if isinstance(command.get("phase"), str):
            phase = load.phase(command["phase"])
            _say({"event": "phase", "name": phase.name, "at_s": phase.began_s})


def _read_commands(stream: TextIO, commands: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in stream:
        try:
            command = json.loads(line)
        except ValueError:
            command = None
        if isinstance(command, dict):
            commands.put(command)
        elif line.strip():
            print(f"pagethrift lab load: not a command: {line.strip()[:80]}", file=sys.stderr)


def _kind(chunk: Operations, at: int) -> Kind:
    if not chunk.is_set[at]:
        return Kind.GET
    return Kind.SAME_SET if chunk.is_same[at] else Kind.SET


def _say(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Load a memcached or a Redis in an open loop, and measure what its clients see.

    python -m pagethrift.lab.load.generator --server 10.99.0.10:11211 --spec spec.json --out out.json

The generator is a process of its own inside the clients' network namespace. It fills all keys, prints
``{"event": "loaded", ...}`` and sends operations on its own schedule until ``duration_s`` is over, SIGTERM
comes, or a line ``{"stop": true}`` arrives on stdin. A line ``{"phase": "during"}`` on stdin begins a
phase, now or at an earlier ``unix_s``. A line on stdout confirms every phase with its time.

Exit codes: 0 done, 2 impossible spec, 6 the server does not hold the keys.
"""

from __future__ import annotations

import argparse
import json
import queue
import re
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from pagethrift.errors import LabError, PagethriftError, UsageError
from pagethrift.lab.load.connection import Connection
from pagethrift.lab.load.counter_check import CounterCheck
from pagethrift.lab.load.spec import LoadSpec, popularity
from pagethrift.lab.load.stats import Phase, summarise
from pagethrift.lab.load.stores import STORE_ERRORS, Address
from pagethrift.whole_file import write_text

DRAIN_S = 15.0
"""how long to wait for outstanding answers after a stop"""


def parse_server(text: str) -> Address:
    """Return (host, port) or the path of ``unix:PATH``.

    Raises UsageError when the text is neither.
    """
    if text.startswith("unix:") and len(text) > 5:
        return text[5:]
    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise UsageError(f"{text!r} is not a server; write HOST:PORT or unix:PATH")
    return host.strip("[]"), int(port)


class Load:
    """A whole run of the load: fill, open loop with phases, result."""

    def __init__(self, spec: LoadSpec, server: Address) -> None:
        self.spec = spec
        self.phases: list[Phase] = []
        self._connections = [Connection(spec, server, number) for number in range(spec.connections)]
        self._threads: list[threading.Thread] = []
        self._cpu_began_s = 0.0
        self._began_unix_s = 0.0

    def fill(self) -> dict[str, Any]:
        """Store all keys and check that the server holds them; return facts for a log line.

        Raises LabError when the server does not hold exactly these keys.
        """
        began_s = time.monotonic()
        for connection in self._connections:
            connection.fill()
        held = self._connections[0].held()
        wanted = self.spec.keys + self.spec.counters
        if held.items != wanted and not (self.spec.evicting and held.items < wanted):
            raise LabError(
                f"the server holds {held.items} items instead of {wanted} ({held.evictions} evicted); "
                "give it more memory or an empty start"
            )
        return {"items": held.items, "took_s": time.monotonic() - began_s, "bytes": held.item_bytes}

    def start(self, phase: str = "before") -> None:
        """Begin the open loop."""
        weights = popularity(self.spec)
        self._cpu_began_s = time.process_time()
        began_ns, self._began_unix_s = time.monotonic_ns(), time.time()
        self.phases.append(Phase(phase, began_ns / 1e9))
        for number, connection in enumerate(self._connections):
            own = weights[number :: self.spec.connections]
            thread = threading.Thread(target=connection.run, args=(began_ns, own), daemon=True)
            thread.start()
            self._threads.append(thread)

    def phase(self, name: str, unix_s: float | None = None) -> Phase:
        """Begin a phase and return it: now, or at a wall-clock time after the last phase began."""
        began_s = now_s = time.monotonic()
        if unix_s is not None:
            began_s = self.phases[0].began_s + unix_s - self._began_unix_s
        self.phases.append(Phase(name, min(max(began_s, self.phases[-1].began_s), now_s)))
        return self.phases[-1]

    def finish(self, drain_s: float = DRAIN_S) -> dict[str, Any]:
        """Send the operations that are due by now, wait up to ``drain_s`` for answers, return the result."""
        ended_ns = time.monotonic_ns()
        ended_s = ended_ns / 1e9
        for connection in self._connections:
            connection.end(ended_ns)
        for thread in self._threads:
            thread.join(max(0.0, ended_s + drain_s - time.monotonic()))
        cpu_share = (time.process_time() - self._cpu_began_s) / (time.monotonic() - self.phases[0].began_s)
        counters = self._check_counters()
        for connection in self._connections:
            connection.abort()
        for connection, thread in zip(self._connections, self._threads, strict=True):
            thread.join(2)
            connection.close()
        result = summarise(self.spec, [c.log for c in self._connections], self.phases, ended_s)
        result["began_unix_s"] = self._began_unix_s
        result["counters"] = asdict(counters)
        missing = 0 if self.spec.evicting else result["missing"]
        result["failed"] = result["errors"] + result["wrong"] + missing + counters.lost
        result["generator_cpu_share"] = cpu_share
        result["wrong_examples"] = [text for c in self._connections for text in c.examples]
        return result

    def _check_counters(self) -> CounterCheck:
        """Add up over connections; one that still waits or is broken counts as unchecked."""
        total = CounterCheck()
        for connection, thread in zip(self._connections, self._threads, strict=True):
            try:
                found = None if thread.is_alive() else connection.check_counters()
            except STORE_ERRORS:
                found = None
            if found is None:
                total.unchecked_connections += bool(self.spec.counters)
                continue
            total.counters += found.counters
            total.acknowledged += found.acknowledged
            total.lost += found.lost
        return total


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="pagethrift.lab.load.generator", description="open-loop load")
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
    try:
        write_text(options.out, json.dumps(result) + "\n")
    except OSError as error:
        print(f"pagethrift lab load: --out {options.out}: {error.strerror}", file=sys.stderr)
        return UsageError.exit_code
    shown = ("operations", "operations_per_s", "failed", "shed", "blackout_s")
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
            unix_s = command.get("unix_s")
            phase = load.phase(command["phase"], unix_s if isinstance(unix_s, float) else None)
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


def _say(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Start the relay as operators do, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from pagethrift.model.relay_protocol import RelayEnd, RelayState, RelayStatus, decode_message


class RelayProcess:
    """``pagethrift relay --json`` with its last status."""

    def __init__(self, listen: str, connect: str, *more: str, module: str = "pagethrift") -> None:
        command = [sys.executable, "-m", module, "relay", "--json"]
        command += ["--listen", listen, "--connect", connect, *more]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.status = RelayStatus()
        self.end: RelayEnd | None = None
        self._listening = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if not self._listening.wait(60) or self.process.poll() is not None:
            raise RuntimeError(f"the relay did not start: {self.process.communicate()[1]}")

    def wait(self, timeout_s: float = 30.0) -> int:
        """Return the exit code."""
        return self.process.wait(timeout_s)

    def wait_for(self, state: RelayState, pages: int = 0, timeout_s: float = 20.0) -> None:
        """Return once the relay is in a state and has read so many pages."""
        deadline_s = time.monotonic() + timeout_s
        while self.status.state is not state or self.status.pages_in < pages:
            if time.monotonic() > deadline_s or self.process.poll() is not None:
                raise TimeoutError(f"the relay is {self.status}")
            time.sleep(0.01)

    def close(self) -> str:
        """Kill what still runs; return what it said on standard error."""
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def __enter__(self) -> RelayProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            match decode_message(line.encode()):
                case RelayStatus() as status:
                    self.status = status
                case RelayEnd() as end:
                    self.end = end
            self._listening.set()
        self._listening.set()


def sockets(directory: Path) -> tuple[str, str]:
    """Return addresses for the relay and for the destination."""
    return f"unix:{directory}/relay.sock", f"unix:{directory}/incoming.sock"

"""A QEMU's second monitor, for the lab's own queries: blocking calls over qemu.qmp."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import TracebackType
from typing import Any

from qemu.qmp.qmp_client import ExecuteError

from pagethrift.errors import QmpError
from qemu.qmp import QMPClient, QMPError


class Monitor:
    """Context manager: connected on entry, closed on exit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.new_event_loop()
        self._client = QMPClient(path.stem)
        self._client.logger.setLevel(logging.CRITICAL)

    def execute(self, command: str, arguments: dict[str, Any] | None = None, timeout_s: float = 10.0) -> Any:
        """Run a command and return its answer. Raises QmpError."""
        try:
            call = self._client.execute(command, arguments)
            return self._loop.run_until_complete(asyncio.wait_for(call, timeout_s))
        except (QMPError, ExecuteError, OSError, TimeoutError) as error:
            raise QmpError(f"{self._path}: {command} failed: {error or 'no answer'}") from error

    def __enter__(self) -> Monitor:
        try:
            self._loop.run_until_complete(asyncio.wait_for(self._client.connect(str(self._path)), 10.0))
        except (QMPError, OSError, TimeoutError) as error:
            self._loop.close()
            raise QmpError(f"cannot use monitor {self._path}: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._loop.run_until_complete(asyncio.wait_for(self._client.disconnect(), 5.0))
        except (QMPError, OSError, TimeoutError, EOFError):
            pass
        finally:
            self._loop.close()

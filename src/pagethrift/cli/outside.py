"""What `relay` and `migrate` show of themselves beside their output: metrics, a status socket, a log."""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from pagethrift.address import Address, parse_address
from pagethrift.cli.exits import INTERRUPTED, complain, line_of
from pagethrift.errors import UsageError
from pagethrift.model.relay_protocol import Change
from pagethrift.model.running import Running
from pagethrift.outside.status_socket import StatusSocket, open_status_socket
from pagethrift.outside.story import Story

if TYPE_CHECKING:
    from pagethrift.outside.endpoint import Endpoint
    from pagethrift.outside.json_log import JsonLog

_PANEL = "Seen from outside"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")

MetricsOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        help="Serve metrics for Prometheus at this address, under /metrics: HOST:PORT, e.g. 127.0.0.1:9942.",
        metavar="ADDR",
        rich_help_panel=_PANEL,
    ),
]
LogJson: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--log-json",
        help="Write JSON lines to standard error, for journald or Loki, in place of lines for people.",
        rich_help_panel=_PANEL,
    ),
]
MigrationId: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--id",
        help="The migration's name in metrics, logs, results and `pagethrift top` (default: a random one).",
        metavar="NAME",
        rich_help_panel=_PANEL,
    ),
]


def checked_id(name: str | None) -> str:
    """Return the migration's id, a random one if none was given. Raises UsageError."""
    if name is None:
        return secrets.token_hex(4)
    if not _ID.fullmatch(name):
        raise UsageError(f"--id {name!r}: write up to 64 letters, digits and . _ : -")
    return name


class Outside:
    """All of it for one migration. Once it is open, whatever fails in it is dropped."""

    def __init__(
        self,
        running: Callable[[], Running],
        change: Callable[[Change], None],
        metrics: str | None,
        log_json: bool,
        listed: bool = True,
    ) -> None:
        """``listed``: with a status socket. Raises UsageError, and LinkError when ``metrics`` is busy."""
        self._running = running
        self._socket: StatusSocket | None = None
        self._log = _log(running().id) if log_json else None
        self._story = Story(self._log.say) if self._log else None
        self._endpoint = _endpoint(parse_address(metrics, listening=True), running) if metrics else None
        if listed:
            self._socket = open_status_socket(running().kind, running, change, self._warn)
        if self._story:
            self._story.begin(running())

    @property
    def logs(self) -> bool:
        """Whether a log takes the place of lines for people."""
        return self._log is not None

    def look(self) -> None:
        """Log what is new."""
        if self._story:
            with contextlib.suppress(Exception):
                self._story.look(self._running())

    def end(self, error: str, exit_code: int, more: Mapping[str, Any] | None = None) -> None:
        """Log how it ended; ``error`` is empty when all went well. A second end is not logged."""
        story, self._story = self._story, None
        if story:
            with contextlib.suppress(Exception):
                story.look(self._running())
                story.end(error, exit_code, more or {})

    def close(self) -> None:
        """Close all of it."""
        for each in (self._endpoint, self._socket, self._log):
            if each is not None:
                with contextlib.suppress(Exception):
                    each.close()

    def _warn(self, line: str) -> None:
        if self._log:
            self._log.say("warning", {"warning": line}, logging.WARNING)
        else:
            complain(f"warning: {line}")


@contextlib.contextmanager
def told(outside: Outside, command: str) -> Iterator[None]:
    """Run a command's work; with a log, its end and its error are log lines and nothing is said twice."""
    try:
        yield
        outside.end("", 0)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
        outside.end("interrupted" if code == INTERRUPTED else "", code)
        raise
    except BaseException as error:
        if not outside.logs:
            raise
        line, code = line_of(error, command)
        outside.end(line, code)
        raise SystemExit(code) from error
    finally:
        outside.close()


def _log(migration: str) -> JsonLog:
    from pagethrift.outside.json_log import JsonLog

    return JsonLog(migration)


def _endpoint(address: Address, running: Callable[[], Running]) -> Endpoint:
    try:
        from pagethrift.outside.endpoint import Endpoint  # loads a web server: only where it is wanted
    except ModuleNotFoundError as error:
        raise UsageError(
            "--metrics needs the metrics extra: pip install '.[metrics]' in its sources"
            f" ({(error.name or '').partition('.')[0]} is not installed)"
        ) from error
    return Endpoint(address, lambda: [running()])

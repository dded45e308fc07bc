"""The functions of `pagethrift` that save their caller a step, with defaults.

Each function imports what it needs when it is called: `thin` loads neither the simulator nor pyarrow.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pagethrift.errors import UsageError

if TYPE_CHECKING:
    from pagethrift.model.result import MigrationResult
    from pagethrift.report.runs import Run
    from pagethrift.simulator.simulate_options import SimulateOptions
    from pagethrift.strategies.base import Strategy
    from pagethrift.trace.read import Trace

PathLike: TypeAlias = str | os.PathLike[str]


def thin(stream: bytes, strategy: Strategy | str = "pagethrift", *, secret: bytes | None = None) -> bytes:
    """Return a whole migration stream without what its destination already holds.

    ``strategy`` is a strategy's name or an object from `pagethrift.strategy`; an object serves one stream.
    ``secret`` is the key of the signatures, at least 32 random bytes; by default new bytes are drawn.

    Raises StreamError when the stream breaks the format or uses a feature that the relay refuses, and
    UsageError for a strategy that is unknown or that no relay can run.
    """
    import secrets

    from pagethrift.engine.thin import thin as thin_stream
    from pagethrift.strategies.table import live_strategy

    chosen = live_strategy(strategy) if isinstance(strategy, str) else strategy
    return thin_stream(stream, chosen, secrets.token_bytes(32) if secret is None else secret)


def simulate(
    trace: Trace, options: SimulateOptions, strategy: Strategy | str = "pagethrift"
) -> MigrationResult:
    """Migrate the guest of a trace over a virtual link; the same arguments give the same result.

    ``strategy`` is a strategy's name or an object from `pagethrift.strategy`; an object serves one
    migration. A migration that does not converge also returns a result: see its ``outcome``.

    Raises UsageError for impossible options or an unknown strategy.
    """
    from pagethrift.simulator.virtual_migration import simulate as simulate_trace
    from pagethrift.strategies.table import strategy as row

    return simulate_trace(trace, row(strategy) if isinstance(strategy, str) else strategy, options)


def read_trace(path: PathLike, seed: int = 0) -> Trace:
    """Read a trace that ``pagethrift record`` or ``pagethrift lab record`` wrote.

    ``seed`` decides the times of writes within their sweep. Raises UsageError that names the file.
    """
    from pagethrift.trace.read import read_trace as read

    return read(Path(path), seed)


def read_result(path: PathLike) -> MigrationResult:
    """Read the result file of one migration, live or simulated. Raises UsageError that names the file."""
    from pagethrift.model.result import MigrationResult

    try:
        return MigrationResult.from_json(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def read_runs(*paths: PathLike) -> tuple[Run, ...]:
    """Read all runs of folders, archives and single result files, as ``pagethrift report`` does.

    JSON files of another kind are left out. Raises UsageError when no run was found, and, with the name of
    the file, when a file cannot be read.
    """
    from pagethrift.report.load import load

    return load(Path(path) for path in paths).runs

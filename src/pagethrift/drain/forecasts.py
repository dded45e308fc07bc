"""Where guests' costs come from: forecast files, what the plan states, or `pagethrift forecast` as a
process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pagethrift.errors import QmpError, UsageError
from pagethrift.evacuation.costs import Costs, stated
from pagethrift.evacuation.forecasts import foretold
from pagethrift.evacuation.plan import Guest, Plan, check_options
from pagethrift.given_file import read_json

DRAWING = ("matplotlib", "markupsafe")
"""of the extra `report`"""
END_S = 90.0
"""for a forecast to put a guest back as it was; libvirt may be slow to answer"""
GRACE_S = 600.0
"""for simulating what was watched; then a forecast is given up"""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one guest before it moves."""

    costs: Costs
    ram_bytes: float
    options: tuple[str, ...]
    """of migrate, from the plan or from the forecast's mode"""
    warning: str = ""


async def know(
    plan: Plan, guests: Iterable[Guest], on_way: Collection[str], folder: Path, plan_folder: Path,
    now_unix_s: float, told: Callable[[str], None],
) -> dict[str, Known]:  # fmt: skip
    """Return what is known of each; a guest that neither the plan nor a file knows is watched now.

    One after the other: watching costs a guest a little, and the host's processors are shared. Guests in
    ``on_way`` cannot be watched any more. ``told`` gets a line for each that is watched. Raises UsageError
    and QmpError.
    """
    found = {}
    for guest in guests:
        if guest.memory_bytes is not None and guest.dirty_bps is not None:
            costs = stated(guest.memory_bytes, guest.dirty_bps, guest.downtime_limit_s)
            found[guest.name] = Known(costs, guest.memory_bytes, guest.options or ())
            continue
        path = plan_folder / guest.forecast if guest.forecast is not None else _own(guest, folder)
        if guest.forecast is None and not _is_fresh(path, now_unix_s):
            if guest.name in on_way:
                found[guest.name] = Known(Costs(()), 0.0, ())
                continue
            told(f"{guest.name}: watching it for a forecast ({plan.watch_s:g} s and more)")
            await _make(plan, guest, path)
        found[guest.name] = _read(guest, path, now_unix_s)
    return found


def _own(guest: Guest, folder: Path) -> Path:
    return folder / f"{guest.name}.forecast.json"


def _is_fresh(path: Path, now_unix_s: float) -> bool:
    """Whether an evacuation that was killed has left a forecast that still holds."""
    try:
        return path.exists() and foretold(read_json(path)).expires_unix_s > now_unix_s
    except UsageError:
        return False


def _read(guest: Guest, path: Path, now_unix_s: float) -> Known:
    try:
        said = foretold(read_json(path), guest.mode)
        check_options(said.options)
    except UsageError as error:
        raise UsageError(f"guest {guest.name}: {path}: {error}") from error
    warnings = []
    if now_unix_s > said.expires_unix_s:
        warnings.append(f"{guest.name}: its forecast has expired; make a new one with pagethrift forecast")
    if said.limit_s > guest.downtime_limit_s * 1.001:
        warnings.append(f"{guest.name}: its forecast is for a downtime limit of {said.limit_s:g} s")
    options = guest.options or ()
    if guest.options is None and guest.by_libvirt == said.libvirt:
        options = said.options
    elif guest.options is None and said.options:
        told, way = " ".join(said.options), "domain" if guest.by_libvirt else "qmp"
        warnings.append(f"{guest.name}: its forecast, for {told}, is of no {way}; give options, or a new one")
    return Known(said.costs, said.ram_bytes, options, "; ".join(warnings))


async def _make(plan: Plan, guest: Guest, path: Path) -> None:
    """Watch a guest and write its forecast. Raises QmpError with what the forecast said."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bps = plan.links.best_bps(guest.destination)
    whose = [f"--qmp={guest.qmp}"]
    if guest.by_libvirt:
        whose = [f"--domain={guest.domain}", f"--connect={guest.connect}"]
    arguments = [
        *whose, f"--bandwidth={bps:.0f}B/s", f"--downtime-limit={guest.downtime_limit_s:.6f}s",
        f"--seconds={plan.watch_s:.3f}s", f"--out={path}", "--curve",
    ]  # fmt: skip
    if all(map(find_spec, DRAWING)):  # the picture is for people, the curve is needed
        arguments.append(f"--plot={path.with_suffix('.svg')}")
    code, said = await _run(
        [sys.executable, "-m", "pagethrift", "forecast", *arguments], plan.watch_s + GRACE_S
    )
    if code:
        raise QmpError(f"guest {guest.name}: no forecast: {said.removeprefix('pagethrift: ')}")


async def _run(arguments: list[str], within_s: float) -> tuple[int, str]:
    """Run a command; return its exit code and its last line on standard error."""
    nothing, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*arguments, stdin=nothing, stdout=nothing, stderr=pipe)
    try:
        async with asyncio.timeout(within_s):
            _, errors = await process.communicate()
    except (TimeoutError, asyncio.CancelledError) as error:
        await _ended(process)
        if isinstance(error, asyncio.CancelledError):
            raise
        return 1, f"not made within {within_s:.0f} s"
    lines = [line for line in errors.decode(errors="replace").splitlines() if line.strip()]
    return process.returncode or 0, lines[-1] if lines else ""


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Have a forecast put the guest's settings back, and wait for that."""
    wait: Callable[[], Awaitable[int]] = process.wait
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(END_S):
                await wait()
        except TimeoutError:
            process.kill()
            await wait()

"""Everything that can be known before a migration, asked without changing or moving anything."""

from __future__ import annotations

from contextlib import AsyncExitStack

from pagethrift.errors import QmpError, UsageError
from pagethrift.live.compatibility import unlike
from pagethrift.live.destination import Destination
from pagethrift.live.kept import claimed
from pagethrift.live.migrate_options import MigrateOptions
from pagethrift.live.preflight import check_source
from pagethrift.live.qmp import QmpMonitor, connected
from pagethrift.live.settings import BorrowedSettings
from pagethrift.strategies.table import live_strategy


async def check(options: MigrateOptions) -> list[str]:
    """Return a line for each thing for which this migration would fail; an empty list: nothing was found.

    Raises UsageError for options that contradict each other.
    """
    options.check()
    if not options.plain:
        live_strategy(options.strategy, options.stop, **options.parameters)
    found: list[str] = []
    try:
        options.check_tls_files()
    except UsageError as error:
        found.append(str(error))
    async with AsyncExitStack() as stack:
        source, encrypted = await _source(stack, options, found)
        destination = None
        if options.destination_qmp:
            destination = await _destination(stack, options, found, encrypted)
        if source is not None and destination is not None:
            try:
                found += [
                    f"destination {destination.path}: {line}" for line in await unlike(source, destination)
                ]
            except QmpError as error:
                found.append(str(error))
    return found


async def _source(
    stack: AsyncExitStack, options: MigrateOptions, found: list[str]
) -> tuple[QmpMonitor | None, bool]:
    """Return the source's monitor, None if it cannot be asked; what it objects to is added to ``found``.

    Also whether TLS will come to the destination.
    """
    monitor, encrypted = None, options.encrypted({})
    try:
        monitor = await connected(stack, options.source_qmp, "source")
        with claimed(monitor):
            settings = await BorrowedSettings.of(monitor)
            encrypted = options.encrypted(settings.parameters)
            await check_source(
                monitor,
                settings,
                read_here=not options.plain,
                multifd_set=options.features.multifd_channels is not None,
                link_encrypted=options.tls_folder is not None,
            )
    except QmpError as error:
        found.append(str(error))
    return monitor, encrypted


async def _destination(
    stack: AsyncExitStack, options: MigrateOptions, found: list[str], encrypted: bool
) -> QmpMonitor | None:
    """The same for the destination's monitor."""
    monitor = None
    try:
        monitor = await connected(stack, str(options.destination_qmp), "destination")
        await Destination(monitor).check(await BorrowedSettings.of(monitor), encrypted=encrypted)
    except QmpError as error:
        found.append(str(error))
    return monitor

"""Compressed channels: whether the destination takes them, and setting it up for them."""

from __future__ import annotations

import uuid

from pagethrift.errors import QmpError, UsageError
from pagethrift.live.destination import Destination
from pagethrift.live.migrate_options import MigrateOptions
from pagethrift.live.qmp import QmpMonitor
from pagethrift.live.settings import BorrowedSettings
from pagethrift.model.channels import CHANNELS, CHANNELS_MAX, ChannelSettings, Compress
from pagethrift.strategies.table import live_strategy

PARAMETERS = ("multifd-channels", "multifd-compression")


async def prepare_channels(
    options: MigrateOptions,
    source: QmpMonitor,
    destination: Destination | None,
    theirs: BorrowedSettings | None,
    warnings: list[str],
) -> ChannelSettings | None:
    """Set the destination up for compressed channels before it listens; None: pages travel plain.

    Why a destination cannot have them is added to ``warnings``. Raises QmpError when it refuses what it
    offers, UsageError when compression was demanded and cannot be had.
    """
    wanted = options.compress is not Compress.OFF and not options.plain
    strategy = None if options.plain else live_strategy(options.strategy, options.stop, **options.parameters)
    if strategy is None or not wanted:
        return None
    demanded = options.compress is Compress.ON
    if not strategy.compresses:
        if demanded:
            raise UsageError(f"--compress on: strategy {strategy.name} sends no page compressed")
        if not options.channels:
            return None
    if destination is None or theirs is None:
        if not options.channels:
            if demanded:
                raise UsageError(
                    "--compress on: give --destination-qmp, or --channels as the destination has"
                )
            return None
        return await _settings(options, source, options.channels)
    why_not = await _obstacle(destination, theirs, options)
    if why_not:
        line = f"destination {destination.monitor.path}: pages travel uncompressed, because {why_not}"
        if demanded:
            raise UsageError(f"{line}; use --compress auto or off")
        warnings.append(line)
        return None
    if await destination.listens():  # as the operator set it up
        return await _settings(options, source, int(theirs.parameters["multifd-channels"]))
    channels = options.channels or CHANNELS
    await theirs.switch(multifd=True, xbzrle=False)
    await theirs.set(dict(zip(PARAMETERS, (channels, "zstd"), strict=True)))
    return await _settings(options, source, channels)


async def _obstacle(destination: Destination, theirs: BorrowedSettings, options: MigrateOptions) -> str:
    """Return why this destination takes no compressed channels; empty: it does."""
    if "multifd" not in theirs.capabilities or not theirs.parameters.keys() >= set(PARAMETERS):
        return f"QEMU {destination.monitor.version_text} has no multifd"
    if not await destination.listens():
        return "" if await _has_zstd(destination.monitor) else "that QEMU was built without zstd"
    if theirs.capabilities["multifd"] and theirs.parameters["multifd-channels"] > CHANNELS_MAX:
        found = theirs.parameters["multifd-channels"]
        return f"it listens with {found} multifd channels, and pagethrift has at most {CHANNELS_MAX}"
    ready = theirs.capabilities["multifd"] and theirs.parameters["multifd-compression"] == "zstd"
    if ready and options.channels in (None, theirs.parameters["multifd-channels"]):
        return ""
    return "it listens already and is not set up for them; start that QEMU with -incoming defer"


async def _has_zstd(monitor: QmpMonitor) -> bool:
    """Whether this QEMU knows zstd for multifd. Raises QmpError."""
    for entity in await monitor.execute("query-qmp-schema"):
        if (
            "zstd" in entity.get("values", ())
            and "zlib" in entity.get("values", ())
            and "none" in entity["values"]
        ):
            return True
    return False


async def _settings(options: MigrateOptions, source: QmpMonitor, channels: int) -> ChannelSettings:
    """The destination compares the guest's UUID with its own."""
    try:
        number = uuid.UUID(str((await source.execute("query-uuid"))["UUID"])).bytes
    except (ValueError, KeyError) as error:
        raise QmpError(f"source {source.path}: query-uuid told no UUID; use --compress off") from error
    return ChannelSettings(channels, number, options.compress, window_log=options.window_log)

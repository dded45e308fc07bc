"""What must hold before a migration starts, and the settings it needs at both ends."""

from __future__ import annotations

from pagethrift.errors import QmpError
from pagethrift.live.migrate_options import MigrateOptions
from pagethrift.live.qmp import QmpMonitor
from pagethrift.live.settings import BorrowedSettings
from pagethrift.model.channels import ChannelSettings

# Each of these changes the stream or its sockets into something the relay does not rewrite, or makes
# QEMU wait for a command to continue.
REFUSED_READ_HERE = (
    "postcopy-ram",
    "postcopy-preempt",
    "mapped-ram",
    "compress",
    "block",
    "rdma-pin-all",
    "release-ram",
    "zero-copy-send",
    "x-colo",
    "x-ignore-shared",
    "background-snapshot",
    "pause-before-switchover",
)
UNPACKED = ("none", "zlib", "zstd")
"""values of multifd-compression that the relay reads"""
REFUSED_PLAIN = ("mapped-ram", "x-colo", "background-snapshot", "pause-before-switchover")


async def check_source(
    monitor: QmpMonitor,
    settings: BorrowedSettings,
    *,
    read_here: bool,
    multifd_set: bool,
    link_encrypted: bool = False,
    whole_pages: bool = False,
) -> str:
    """Return the source's run state (running or paused); raise QmpError when it cannot migrate now.

    ``read_here``: a relay or a recorder reads the stream; it does not go straight to a destination.
    ``multifd_set``: multifd will be set as we need it, so its present setting does not matter.
    ``link_encrypted``: the relay speaks TLS with the destination, so the source's tls-creds are set aside.
    ``whole_pages``: whoever reads needs the contents of pages, so the source may not send its own deltas.
    """
    where = f"source {monitor.path}"
    status = await monitor.query_status()
    if status not in ("running", "paused"):
        raise QmpError(f"{where}: its guest is {status}; only a running or paused guest can be migrated")
    if (await monitor.query_migrate()).status not in ("", "none", "completed", "failed", "cancelled"):
        raise QmpError(f"{where}: a migration is running; wait for it, or cancel it with migrate_cancel")
    refused = REFUSED_READ_HERE if read_here else REFUSED_PLAIN
    refused = ("xbzrle", *refused) if whole_pages else refused
    found = [name for name in refused if settings.capabilities.get(name)]
    if found:
        raise QmpError(
            f"{where}: migration capability {', '.join(found)} is on and cannot be used here;"
            " switch it off with migrate-set-capabilities"
        )
    if settings.parameters.get("tls-creds") and read_here and not link_encrypted:
        raise QmpError(
            f"{where}: tls-creds is set, so pagethrift would see ciphertext; let migrate encrypt the link"
            " instead, with --tls-dir, or set tls-creds to an empty string"
        )
    compression = settings.parameters.get("multifd-compression", "none")
    kept = read_here and not multifd_set
    if settings.capabilities.get("multifd") and compression not in UNPACKED and kept:
        raise QmpError(
            f"{where}: multifd-compression is {compression}, which the relay cannot unpack; set it to none,"
            " zlib or zstd with migrate-set-parameters"
        )
    return status


async def prepare_source(settings: BorrowedSettings, options: MigrateOptions) -> None:
    """Set what every migration needs, and the requested features. Raises QmpError.

    Without return-path, the source says "completed" as soon as the last byte is in a socket's buffer.
    """
    await settings.switch(return_path=True, events=True)
    wanted = options.features
    if not options.plain:
        await settings.set({"max-bandwidth": 0})
        if options.tls_folder is not None and settings.parameters.get("tls-creds"):
            await settings.set({"tls-creds": ""})  # the local socket to the relay; the link is encrypted
        if wanted.multifd_channels is not None:
            await settings.switch(multifd=True)
            await settings.set({"multifd-channels": wanted.multifd_channels, "multifd-compression": "none"})
        return
    if wanted.max_bandwidth_bps is not None:
        await settings.set({"max-bandwidth": wanted.max_bandwidth_bps})
    await _switch_features(settings, options)
    if wanted.xbzrle_cache_bytes is not None:
        await settings.set({"xbzrle-cache-size": wanted.xbzrle_cache_bytes})


async def prepare_destination(
    settings: BorrowedSettings, options: MigrateOptions, channels: ChannelSettings | None
) -> None:
    """Set the destination's side of the same settings, before it listens. Raises QmpError."""
    await settings.switch(return_path=True)
    if options.plain:
        await _switch_features(settings, options)
    elif channels is None and settings.capabilities.get("multifd"):  # the relay's output is one socket
        await settings.switch(multifd=False)


async def _switch_features(settings: BorrowedSettings, options: MigrateOptions) -> None:
    wanted = options.features
    # set even when off: a destination that expects multifd hangs silently when the source uses none
    await settings.switch(
        xbzrle=wanted.xbzrle_cache_bytes is not None,
        auto_converge=wanted.auto_converge,
        postcopy_ram=wanted.post_copy,
        multifd=wanted.multifd_channels is not None,
    )
    if wanted.multifd_channels is not None:
        await settings.set(
            {"multifd-channels": wanted.multifd_channels, "multifd-compression": wanted.multifd_compression}
        )


async def pending_of_bitmaps(monitor: QmpMonitor) -> int:
    """Return the bytes that QEMU counts as pending of a source's dirty bitmaps. Raises QmpError.

    Until the guest has stopped that is a byte for each of a bitmap's granules (block-dirty-bitmap.c,
    dirty_bitmap_state_pending), and it never falls: with a threshold below it QEMU begins no new round.
    """
    pending = 0
    for node in await monitor.execute("query-named-block-nodes", {"flat": True}):
        size = int(node.get("image", {}).get("virtual-size", 0))
        for bitmap in node.get("dirty-bitmaps", ()):
            pending += -(-size // int(bitmap["granularity"]))
    return pending

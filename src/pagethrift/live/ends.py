"""Both ends of a migration and the relay between them: prepared, and restored afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from pagethrift.address import parse_address
from pagethrift.errors import QmpError
from pagethrift.live.channels import prepare_channels
from pagethrift.live.compatibility import unlike
from pagethrift.live.destination import Destination
from pagethrift.live.kept import claimed
from pagethrift.live.live_result import Identity, identify
from pagethrift.live.migrate_options import MigrateOptions
from pagethrift.live.preflight import check_source, pending_of_bitmaps, prepare_destination, prepare_source
from pagethrift.live.qmp import QmpMonitor, connected
from pagethrift.live.relay_process import RelayFolder, RelayProcess, relay_command
from pagethrift.live.settings import BorrowedSettings
from pagethrift.live.undisturbed import undisturbed
from pagethrift.model.channels import ChannelSettings
from pagethrift.model.relay_protocol import RelayStatus


@dataclass(slots=True)
class Ends:
    """The two QEMUs of one migration, and the relay between them."""

    source: QmpMonitor
    settings: BorrowedSettings
    """of the source"""
    destination: Destination | None
    identity: Identity
    bitmap_bytes: int = 0
    """what QEMU will count as pending of dirty bitmaps that migrate"""
    uri: str = ""
    """what the source is told to migrate to"""
    relay: RelayProcess | None = None
    channels: ChannelSettings | None = None
    """the compressed channels between relay and destination"""
    borrowed: list[BorrowedSettings] = field(default_factory=list)
    """settings of both ends, to be restored"""
    warnings: list[str] = field(default_factory=list)

    async def give_back(self) -> None:
        """Restore the operator's settings at both ends; a failure becomes a warning."""
        while self.borrowed:
            failure = await self.borrowed.pop().restore()
            if failure:
                self.warnings.append(failure)


@asynccontextmanager
async def open_ends(
    options: MigrateOptions, on_relay: Callable[[RelayStatus], None], warnings: list[str]
) -> AsyncIterator[Ends]:
    """Connect, check and prepare both QEMUs and start the relay.

    Leaving the context always ends the relay and restores the operator's settings.
    Raises QmpError, LinkError or UsageError before anything has been sent.
    """
    options.check_tls_files()
    async with AsyncExitStack() as stack:
        source = await connected(stack, options.source_qmp, "source")
        stack.enter_context(claimed(source))
        destination = None
        if options.destination_qmp is not None:
            destination = Destination(await connected(stack, options.destination_qmp, "destination"))
        ends = Ends(
            source=source,
            settings=await BorrowedSettings.of(source),
            destination=destination,
            identity=await identify(source, destination.monitor if destination else None),
            warnings=warnings,
        )
        await check_source(
            source,
            ends.settings,
            read_here=not options.plain,
            multifd_set=options.features.multifd_channels is not None,
            link_encrypted=options.tls_folder is not None,
        )
        if ends.settings.capabilities.get("dirty-bitmaps"):
            ends.bitmap_bytes = await pending_of_bitmaps(source)
        if ends.settings.found:
            ends.warnings.append(ends.settings.found)
        stack.push_async_callback(lambda: undisturbed(ends.give_back()))
        ends.borrowed.append(ends.settings)
        await ends.settings.replace_found()
        await prepare_source(ends.settings, options)
        if destination is not None:
            theirs = await BorrowedSettings.of(destination.monitor)
            await destination.check(theirs, encrypted=options.encrypted(ends.settings.parameters))
            if theirs.found:
                ends.warnings.append(theirs.found)
            if options.compare_machines and (lines := await unlike(source, destination.monitor)):
                raise QmpError(f"destination {destination.monitor.path}: {'; '.join(lines)}; make them equal")
            ends.borrowed.append(theirs)
            await theirs.replace_found()
            ends.channels = await prepare_channels(options, source, destination, theirs, warnings)
            destination.has_channels = ends.channels is not None
            await prepare_destination(theirs, options, ends.channels)
            await destination.listen(options)
        else:
            ends.channels = await prepare_channels(options, source, None, None, warnings)
        if options.plain:
            ends.uri = parse_address(options.destination).qemu_uri
        else:
            await _start_relay(stack, ends, options, on_relay)
        yield ends


async def _start_relay(
    stack: AsyncExitStack, ends: Ends, options: MigrateOptions, on_relay: Callable[[RelayStatus], None]
) -> None:
    folder = RelayFolder(options.relay_folder, ends.source.peer_uid, ends.source.peer_gid)
    stack.callback(folder.remove)
    argv = relay_command(
        folder.address,
        options.destination,
        options.strategy,
        options.parameters,
        options.bandwidth_bps,
        options.downtime_limit_s,
        ends.channels,
        options.tls_folder,
        options.tls_hostname,
    )
    relay = await RelayProcess.start(argv, on_relay)
    stack.push_async_callback(lambda: undisturbed(relay.close()))
    folder.share()
    ends.uri, ends.relay = folder.uri, relay

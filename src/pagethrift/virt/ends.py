"""Both libvirts of one migration, the domain, and the relay: prepared, and given back afterwards."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pagethrift.address import Address
from pagethrift.errors import UsageError, VirtError
from pagethrift.live.pilot import SLOW_START_BELOW_BYTES, SLOW_START_BPS
from pagethrift.live.relay_process import RelayProcess, relay_command
from pagethrift.live.undisturbed import undisturbed
from pagethrift.model.channels import ChannelSettings
from pagethrift.model.relay_protocol import RelayStatus
from pagethrift.virt.hypervisor import (
    PAUSED,
    RUNNING,
    Domain,
    Hypervisor,
    Identity,
    version_text,
)
from pagethrift.virt.options import NEAR_HOST, PARALLEL_ZSTD, VirtOptions, free_port
from pagethrift.virt.switchover import Switchover, held_parameters

StartRelay: TypeAlias = Callable[[Sequence[str], Callable[[RelayStatus], None]], Awaitable[RelayProcess]]


@dataclass(slots=True)
class Ends:
    """One domain, the libvirt that has it, the one that shall have it, and the relay between the two."""

    source: Hypervisor
    domain: Domain
    destination: Hypervisor | None
    """None: it cannot be reached from here; the source's libvirtd may reach it all the same"""
    identity: Identity
    was_paused: bool
    switchover: Switchover
    relay: RelayProcess
    parameters: Mapping[str, Any]
    """of virDomainMigrateToURI3"""
    channels: ChannelSettings | None = None
    slow_start: bool = False
    """``parameters`` have a bandwidth that must be lifted after a moment"""
    warnings: list[str] = field(default_factory=list)

    async def give_back(self) -> None:
        """Restore the operator's downtime; a failure becomes a warning."""
        failure = await self.switchover.restore()
        if failure:
            self.warnings.append(failure)


@asynccontextmanager
async def open_ends(
    libvirt: Any,
    options: VirtOptions,
    on_relay: Callable[[RelayStatus], None],
    warnings: list[str],
    start_relay: StartRelay = RelayProcess.start,
) -> AsyncIterator[Ends]:
    """Connect to both libvirts, check what can be checked, start the relay.

    Leaving the context always ends the relay and restores the operator's downtime.
    Raises VirtError, LinkError or UsageError before anything has been sent.
    """
    async with AsyncExitStack() as stack:
        source = await _connect(stack, libvirt, options.source_uri, "source")
        domain = await source.domain(options.domain)
        state = await source.state(domain.uuid)
        where = f"domain {domain.name} at {source.uri}"
        if state not in (RUNNING, PAUSED):
            raise VirtError(
                f"{where}: it is {state}; start it first (virsh migrate --offline moves definitions)"
            )
        if await domain.busy():
            raise VirtError(f"{where}: a job runs; wait for its end (virsh domjobinfo {domain.name})")
        destination = await _destination(stack, libvirt, options, warnings)
        identity = await domain.identity()
        channels = _channels(options, domain, source, destination)
        port = options.destination(0).port or free_port()
        near, far = Address(host=NEAR_HOST, port=port), options.destination(port)
        argv = relay_command(
            str(near), str(far), options.strategy, options.parameters, options.bandwidth_bps,
            options.downtime_limit_s, channels, shown_as=options.migration_id,
        )  # fmt: skip
        relay = await start_relay(argv, on_relay)
        stack.push_async_callback(lambda: undisturbed(relay.close()))
        slow = identity.memory_bytes < SLOW_START_BELOW_BYTES
        parameters = {
            libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{near}",
            **held_parameters(source, destination),
            **_parallel(libvirt, options),
        }
        if options.listen_address:
            parameters[libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS] = options.listen_address
        if slow:
            parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = SLOW_START_BPS >> 20
        ends = Ends(
            source, domain, destination, identity, state == PAUSED, Switchover(domain), relay, parameters,
            channels, slow, warnings,
        )  # fmt: skip
        stack.push_async_callback(lambda: undisturbed(ends.give_back()))
        yield ends


async def _connect(stack: AsyncExitStack, libvirt: Any, uri: str, role: str) -> Hypervisor:
    hypervisor = await Hypervisor.connect(libvirt, uri, role)
    stack.push_async_callback(lambda: undisturbed(hypervisor.close()))
    return hypervisor


async def _destination(
    stack: AsyncExitStack, libvirt: Any, options: VirtOptions, warnings: list[str]
) -> Hypervisor | None:
    """The source's libvirtd connects by itself, perhaps with rights that this process lacks."""
    try:
        return await _connect(stack, libvirt, options.destination_uri, "destination")
    except VirtError as error:
        warnings.append(f"nobody here can ask the destination where the domain runs: {error}")
        return None


def _channels(
    options: VirtOptions, domain: Domain, source: Hypervisor, destination: Hypervisor | None
) -> ChannelSettings | None:
    """Return the compressed channels that --parallel means. Raises UsageError where they cannot be had."""
    if options.parallel is None:
        return None
    known = [source.version, destination.version if destination is not None else 0]
    if min(known) < PARALLEL_ZSTD:
        texts = [version_text(each) if each else "unknown" for each in known]
        raise UsageError(
            "--parallel needs zstd, which libvirt has from 9.4 on, at both ends (the source has"
            f" {texts[0]}, the destination {texts[1]}); leave --parallel out: the relay thins one connection"
        )
    return ChannelSettings(options.parallel, uuid.UUID(domain.uuid).bytes, options.compress)


def _parallel(libvirt: Any, options: VirtOptions) -> dict[str, Any]:
    if options.parallel is None:
        return {}
    return {
        libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS: options.parallel,
        libvirt.VIR_MIGRATE_PARAM_COMPRESSION: "zstd",
    }

"""The destination QEMU, when its monitor can be reached: prepare it, start its guest."""

from __future__ import annotations

import asyncio

from pagethrift.address import parse_address
from pagethrift.errors import QmpError
from pagethrift.live.migrate_options import MigrateOptions
from pagethrift.live.qmp import QmpEvent, QmpMonitor
from pagethrift.live.settings import BorrowedSettings

CONT_TRIES, CONT_AGAIN_S = 5, 0.5
HUNG = (
    "the destination QEMU does not answer: with a multifd channel broken it hangs for good; kill that process"
    " and start it anew"
)
TAKE_OVER_S = 60.0
"""a limit only: a destination that has loaded everything starts its guest within milliseconds"""


class Destination:
    """One incoming QEMU; ``resumed_s`` is its RESUME on CLOCK_MONOTONIC."""

    def __init__(self, monitor: QmpMonitor) -> None:
        self.monitor = monitor
        self.resumed_s: float | None = None
        self.has_channels = False
        """compressed channels lead to this QEMU"""
        self.told_to_start = False
        """`cont` was sent: this QEMU may run the guest"""
        self._resumed = asyncio.Event()
        monitor.on_event(self._on_event)

    async def check(self, settings: BorrowedSettings, *, encrypted: bool) -> None:
        """Raise QmpError when this QEMU is not waiting for a migration, or waits for another kind.

        ``encrypted``: TLS will come. Its tls-creds are only read, never set: whom this QEMU believes is its
        operator's decision.
        """
        status = await self.monitor.query_status()
        where = f"destination {self.monitor.path}"
        if status != "inmigrate":
            raise QmpError(f"{where}: its guest is {status}; start that QEMU with -incoming")
        if (await self.monitor.query_migrate()).status not in ("", "none", "setup"):
            raise QmpError(f"{where}: a QEMU takes one migration, and this one has taken it; start it anew")
        for name in ("mapped-ram", "x-colo", "background-snapshot"):
            if settings.capabilities.get(name):
                raise QmpError(f"{where}: capability {name} is on; switch it off or start that QEMU anew")
        credentials = settings.parameters.get("tls-creds")
        if credentials and not encrypted:
            raise QmpError(
                f"{where}: expects TLS (tls-creds is {credentials}); give --tls-dir, or with --plain set"
                " it at the source"
            )
        if encrypted and not credentials:
            raise QmpError(
                f"{where}: expects no TLS (tls-creds is empty); set its tls-creds with"
                " migrate-set-parameters, or leave TLS out"
            )

    async def listen(self, options: MigrateOptions) -> None:
        """Send `stop`, and migrate-incoming to a QEMU started with `-incoming defer`. Raises QmpError.

        After `stop`, an incoming QEMU behaves as if it had been started with -S. Its guest must not
        start before the source says "completed": if the last message back were lost, the source's
        guest would resume as well.
        """
        await self.monitor.execute("stop")
        arguments: dict[str, object] = {
            "uri": options.incoming_uri or parse_address(options.destination).qemu_uri
        }
        if self.monitor.version >= (9, 1, 0):  # a QEMU that lives on can say why a load failed
            arguments["exit-on-error"] = False
        try:
            await self.monitor.execute("migrate-incoming", arguments)
        except QmpError as error:  # 7.2 tells by this error alone that it listens
            if "already been started" not in str(error):
                raise

    async def listens(self) -> bool:
        """Whether this QEMU waits for a connection already: not with -incoming defer. Raises QmpError."""
        return (await self.monitor.query_migrate()).status == "setup"

    async def listens_at(self) -> str:
        """Return where this QEMU says it listens, as text; empty: it does not say."""
        try:
            addresses = (await self.monitor.execute("query-migrate", timeout_s=1.0)).get("socket-address", ())
        except QmpError:
            return ""
        return ", ".join(
            address.get("path") or f"{address.get('host', '')}:{address.get('port', '')}"
            for address in addresses
        )

    async def take_over(self, start_guest: bool) -> float | None:
        """Wait until everything is loaded and start the guest here; return the time of RESUME.

        ``start_guest`` False leaves the guest paused and returns None. Call only when the source can no
        longer run the guest. Raises QmpError.
        """
        try:
            async with asyncio.timeout(TAKE_OVER_S):
                # the source can complete before this QEMU leaves "inmigrate"
                while await self.monitor.query_status() == "inmigrate":
                    await asyncio.sleep(0.002)
                if not start_guest:
                    return None
                await self._start()
                await self._resumed.wait()
        except TimeoutError as error:
            raise QmpError(
                f"destination {self.monitor.path}: everything was sent, but its guest does not start within"
                f" {TAKE_OVER_S:g} s; check it with query-status, and send it cont"
            ) from error
        return self.resumed_s

    async def _start(self) -> None:
        """Send `cont`; a refusal may pass, as that of a disk which the source has not let go of yet."""
        for left in reversed(range(CONT_TRIES)):
            try:
                self.told_to_start = True
                await self.monitor.execute("cont")
                return
            except QmpError:
                if not left or not self.monitor.alive:
                    raise
                await asyncio.sleep(CONT_AGAIN_S)

    async def why_it_failed(self) -> str:
        """Return this QEMU's own account of a failed load, or an empty string."""
        try:
            return (await self.monitor.query_migrate(timeout_s=1.0)).error
        except QmpError:
            if self.monitor.alive:
                return HUNG if self.has_channels else ""
            return await self._hung_up()

    async def _hung_up(self) -> str:
        """A process whose sockets have closed takes some milliseconds to end, if that is why they closed."""
        if self.monitor.process is None:
            return "its monitor has hung up"
        for _ in range(10):
            if self.monitor.process_ended:
                return "the destination QEMU has ended"
            await asyncio.sleep(0.05)
        return "its monitor has hung up, but its process goes on"

    def _on_event(self, event: QmpEvent) -> None:
        if event.name == "RESUME":
            self.resumed_s = event.now_s
            self._resumed.set()

"""``pagethrift libvirt``: migrations of libvirt's domains, steered by libvirt's own API."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pagethrift.cli.auto import Asked
from pagethrift.cli.common import (
    DEFAULT_DOWNTIME_LIMIT,
    DEFAULT_STRATEGY,
    LINK,
    Auto,
    Bandwidth,
    Connect,
    DowntimeLimit,
    FactsLog,
    ForceAfter,
    ForecastFile,
    Json,
    Parameters,
    ResultFile,
    StopName,
    StrategyName,
    SwitchoverDeadline,
    Timeout,
    Watch,
    ordered,
)
from pagethrift.cli.ending import until_signal
from pagethrift.cli.exits import complain
from pagethrift.cli.outside import MigrationId, checked_id
from pagethrift.cli.progress import View, view
from pagethrift.cli.virt_auto import forecasted
from pagethrift.errors import UsageError
from pagethrift.live.watch import Progress
from pagethrift.model.channels import CHANNELS
from pagethrift.model.defaults import SOURCE_URI
from pagethrift.virt.attach import AttachOptions, Steered
from pagethrift.virt.attach import attach as attach_to_others
from pagethrift.virt.migrate import migrate as migrate_domain
from pagethrift.virt.options import VirtOptions
from pagethrift.whole_file import check_folder, check_output, write_text

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Migrate libvirt's domains through the relay; libvirt and both QEMUs stay as they are.",
    epilog="Example: pagethrift libvirt migrate vm1 qemu+ssh://host2/system --downtime-limit 300ms",
)

_VIRSH = "As in virsh migrate"

REFUSED = {
    "copy_storage_all": "copied disks go past the relay, to an address that leads nowhere; share the storage",
    "copy_storage_inc": "copied disks go past the relay, to an address that leads nowhere; share the storage",
    "tunnelled": "libvirt carries the stream inside its own connection, where no relay can stand",
    "postcopy": "post-copy cannot go through the relay; use virsh migrate --postcopy alone",
    "tls": "a stream that QEMU has encrypted cannot be thinned; encrypt the link below (WireGuard, IPsec)",
    "compressed": "the relay compresses; leave it out",
}
"""virsh's options that cannot be had, and why"""


def _refused(name: str) -> object:
    return typer.Option(f"--{name.replace('_', '-')}", hidden=True, help=REFUSED[name])


def _always(name: str) -> object:
    """Take an option that many type with virsh migrate, and that says nothing new here."""
    return typer.Option(f"--{name}", hidden=True, help="As always here.")


@app.callback()
def callback() -> None:
    """Nothing is common to the commands."""


EPILOG = (
    "Example: pagethrift libvirt migrate vm1 qemu+ssh://host2/system --persistent --undefinesource"
    " --bandwidth 1Gbit --downtime-limit 300ms --out result.json\n\n"
    "The source's libvirtd connects to DESTURI itself (virsh: --p2p), so it must reach the other one without"
    " a question. Run this command on the source host.\n\n"
    "Exit codes: 0 the domain runs at the destination, 1 unexpected, 2 usage, 3 the stream cannot be thinned,"
    " 4 the link or the destination failed, 7 the domain runs at neither end, at both, or nobody can say"
    " where, 8 cancelled by another client, 9 the domain ended at the source, 10 a libvirt refused or does"
    " not answer, 130 interrupted. After every code but 0, 1, 7 and 9 the guest runs on at the source"
    " unless the message says otherwise."
)


@app.command(epilog=EPILOG)
def migrate(
    domain: Annotated[str, typer.Argument(help="Name, UUID or number of the domain.", metavar="DOMAIN")],
    desturi: Annotated[
        str,
        typer.Argument(
            help="The destination's libvirt, as the source's libvirtd reaches it.", metavar="DESTURI"
        ),
    ],
    connect: Connect = SOURCE_URI,
    strategy: StrategyName = DEFAULT_STRATEGY,
    param: Parameters = None,
    stop: StopName = None,
    to: Annotated[
        str | None,
        typer.Option(
            help="Where the relay reaches the destination's QEMU. That QEMU will listen on this port, and so"
            " will the relay on this host's 127.0.0.1 (default: the host of DESTURI, a port from 49184 to"
            " 49215).",
            metavar="HOST:PORT",
            rich_help_panel=LINK,
        ),
    ] = None,
    listen_address: Annotated[
        str | None,
        typer.Option(
            help="The address at which the destination's QEMU listens (default: as its qemu.conf says).",
            metavar="ADDRESS",
            rich_help_panel=LINK,
        ),
    ] = None,
    bandwidth: Bandwidth = None,
    parallel: Annotated[
        bool,
        typer.Option(
            "--parallel",
            help="Several connections, compressed with zstd; needs libvirt 9.4 at both ends.",
            rich_help_panel=LINK,
        ),
    ] = False,
    parallel_connections: Annotated[
        int | None,
        typer.Option(help="How many (default: 2).", metavar="N", rich_help_panel=LINK),
    ] = None,
    downtime_limit: DowntimeLimit = DEFAULT_DOWNTIME_LIMIT,
    force_after: ForceAfter = None,
    switchover_deadline: SwitchoverDeadline = None,
    timeout: Timeout = None,
    persistent: Annotated[
        bool,
        typer.Option("--persistent", help="Define the domain at the destination.", rich_help_panel=_VIRSH),
    ] = False,
    undefinesource: Annotated[
        bool,
        typer.Option("--undefinesource", help="Undefine it at the source.", rich_help_panel=_VIRSH),
    ] = False,
    suspend: Annotated[
        bool,
        typer.Option("--suspend", help="Leave the guest paused at the destination.", rich_help_panel=_VIRSH),
    ] = False,
    unsafe: Annotated[
        bool,
        typer.Option("--unsafe", help="Migrate although libvirt warns of disks.", rich_help_panel=_VIRSH),
    ] = False,
    abort_on_error: Annotated[
        bool,
        typer.Option(
            "--abort-on-error",
            help="Give up when a disk of the guest fails meanwhile.",
            rich_help_panel=_VIRSH,
        ),
    ] = False,
    live: Annotated[bool, _always("live")] = False,
    p2p: Annotated[bool, _always("p2p")] = False,
    verbose: Annotated[bool, _always("verbose")] = False,
    copy_storage_all: Annotated[bool, _refused("copy_storage_all")] = False,
    copy_storage_inc: Annotated[bool, _refused("copy_storage_inc")] = False,
    tunnelled: Annotated[bool, _refused("tunnelled")] = False,
    postcopy: Annotated[bool, _refused("postcopy")] = False,
    tls: Annotated[bool, _refused("tls")] = False,
    compressed: Annotated[bool, _refused("compressed")] = False,
    out: ResultFile = None,
    facts_log: FactsLog = None,
    auto: Auto = False,
    watch: Watch = None,
    forecast: ForecastFile = None,
    id: MigrationId = None,
    json: Json = False,
) -> None:
    """Migrate a running domain.

    The relay runs on this host, and libvirt is told to migrate through it. Until the planner decides, the
    domain's tolerated downtime is 1 ms, so that QEMU does not switch over; afterwards yours is put back.
    No monitor command is sent, so the domain does not become tainted. Ctrl-C aborts the migration.
    """
    _refuse(locals())
    options = VirtOptions(
        domain=domain,
        destination_uri=desturi,
        source_uri=connect,
        to=to or "",
        listen_address=listen_address or "",
        **ordered(
            strategy, param, stop, downtime_limit, bandwidth, force_after, timeout, switchover_deadline
        ),
        persistent=persistent,
        undefine_source=undefinesource,
        suspend=suspend,
        unsafe=unsafe,
        abort_on_error=abort_on_error,
        parallel=_parallel(parallel, parallel_connections),
        result_path=check_output(out, "--out", stream=True) if out else None,
        facts_log=check_output(facts_log, "--facts-log", stream=True) if facts_log else None,
        migration_id=checked_id(id),
    )
    options = forecasted(options, Asked.of(auto, watch, forecast), json)
    with view(json) as shown:
        done, sentence = until_signal(lambda: migrate_domain(options, shown.show))
        if done is not None:
            shown.finish(done.result, done.where)
    if done is None:
        complain(f"interrupted; {sentence}")
        sys.exit(130)


@app.command(
    epilog="Example: pagethrift libvirt attach --listen 127.77.0.2:49152 --to 10.0.0.2:49152, where the"
    ' destination\'s qemu.conf has migration_host = "127.77.0.2"\n\n'
    "Exit codes: 0 done (--once), 2 usage, 4 the relay failed, 10 libvirt refused or does not answer, 130"
    " interrupted."
)
def attach(
    listen: Annotated[
        str,
        typer.Option(
            help="Where the relay listens; migrations must be led there.", metavar="HOST:PORT|unix:PATH"
        ),
    ],
    to: Annotated[
        str, typer.Option(help="Where the destination's QEMU listens.", metavar="HOST:PORT|unix:PATH")
    ],
    connect: Connect = SOURCE_URI,
    strategy: StrategyName = DEFAULT_STRATEGY,
    param: Parameters = None,
    stop: StopName = None,
    bandwidth: Bandwidth = None,
    downtime_limit: DowntimeLimit = DEFAULT_DOWNTIME_LIMIT,
    force_after: ForceAfter = None,
    once: Annotated[bool, typer.Option("--once", help="End after the first migration.")] = False,
    out: Annotated[Path | None, typer.Option(help="The folder for the result files.", metavar="DIR")] = None,
    json: Json = False,
) -> None:
    """Steer migrations that others begin (virsh, virt-manager, Nova) and that pass through this relay.

    A domain that begins to migrate through the relay is held, decided on and let go as by migrate. Its job is
    never aborted here, and the downtime that the other client has set is put back. Ctrl-C during a migration
    only lets go of it; the relay ends with the migration.
    """
    options = AttachOptions(
        listen=listen,
        to=to,
        source_uri=connect,
        **ordered(strategy, param, stop, downtime_limit, bandwidth, force_after),
        once=once,
    )
    folder = check_folder(out, "--out") if out else None
    shown = _EachShown(json, folder)
    _, sentence = until_signal(
        lambda: attach_to_others(options, lambda: shown.waiting(listen), shown.show, shown.ended)
    )
    if sentence:
        complain("interrupted; nothing is steered any more")
        sys.exit(130)


class _EachShown:
    """Shows one migration after the other, and writes their files."""

    def __init__(self, as_json: bool, folder: Path | None) -> None:
        self._as_json = as_json
        self._folder = folder
        self._view: View | None = None

    def waiting(self, where: str) -> None:
        """Say that the next migration may come."""
        complain(f"waiting for a migration at {where}")

    def show(self, progress: Progress) -> None:
        """Show one look at the running migration."""
        if self._view is None:
            self._view = view(self._as_json)
            self._view.__enter__()
        self._view.show(progress)

    def ended(self, one: Steered) -> None:
        """Show how a migration has ended, and write its file."""
        shown, self._view = self._view or view(self._as_json), None
        shown.finish(one.result)
        shown.__exit__(None, None, None)
        if one.result.error:
            complain(one.result.error)
        if self._folder is not None:
            name = f"{one.domain}-{one.result.ended_unix_s:.0f}.json"
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                write_text(self._folder / name, one.result.to_json())
            except OSError as error:
                complain(f"warning: the result could not be written: {error.strerror or error}")


def _refuse(given: dict[str, object]) -> None:
    """Raise UsageError for an option of virsh's that cannot be had."""
    for name, why in REFUSED.items():
        if given[name]:
            raise UsageError(f"--{name.replace('_', '-')}: {why}")


def _parallel(wanted: bool, connections: int | None) -> int | None:
    if connections is not None and not wanted:
        raise UsageError("--parallel-connections is for --parallel; give that too")
    return (connections or CHANNELS) if wanted else None

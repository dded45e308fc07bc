"""What an operator asks of one live migration."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pagethrift.address import check_incoming_uri, parse_address, parse_qmp_path
from pagethrift.errors import UsageError
from pagethrift.model.channels import CHANNELS_MAX, WINDOW_LOG, WINDOW_LOG_MIN, Compress
from pagethrift.model.defaults import DOWNTIME_LIMIT_S
from pagethrift.model.forecast import Forecast
from pagethrift.model.result import ParameterValue
from pagethrift.tls import host_to_verify, load_tls
from pagethrift.whole_file import check_output


@dataclass(frozen=True, slots=True)
class PlainFeatures:
    """QEMU's own features, for a migration without the relay."""

    xbzrle_cache_bytes: int | None = None
    """switches xbzrle on; a power of two of at least 4096"""
    auto_converge: bool = False
    post_copy: bool = False
    post_copy_round: int = 1
    """post-copy starts when this round begins; 0 = at once"""
    multifd_channels: int | None = None
    """switches multifd on, at both ends"""
    multifd_compression: str = "none"
    max_bandwidth_bps: int | None = None
    """bytes per second, 0 = unlimited; None leaves QEMU's setting"""

    def as_features(self) -> dict[str, ParameterValue]:
        """Return what is switched on, by QEMU's names, for the result."""
        found: dict[str, ParameterValue] = {}
        if self.xbzrle_cache_bytes is not None:
            found["xbzrle-cache-size"] = self.xbzrle_cache_bytes
        if self.auto_converge:
            found["auto-converge"] = True
        if self.post_copy:
            found["postcopy-ram"] = True
        if self.multifd_channels is not None:
            found["multifd-channels"] = self.multifd_channels
            found["multifd-compression"] = self.multifd_compression
        if self.max_bandwidth_bps is not None:
            found["max-bandwidth"] = self.max_bandwidth_bps
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What an operator asks of a migration whichever driver moves the guest: over QMP or under libvirt."""

    strategy: str = "pagethrift"
    parameters: Mapping[str, float] = field(default_factory=dict)
    """parameters of the strategy and of ``stop``"""
    stop: str = ""
    """a stop rule instead of the strategy's own"""
    stop_parameters: Mapping[str, float] = field(default_factory=dict)
    """filled in from ``parameters`` by `with_strategy`"""
    downtime_limit_s: float = DOWNTIME_LIMIT_S
    bandwidth_bps: int | None = None
    """link bandwidth in bytes per second, if the operator knows it"""
    force_after_s: float | None = None
    """switch over after this time even if the predicted downtime is above the limit; counts from "go" on"""
    timeout_s: float | None = None
    """break the migration off after this time"""
    switchover_deadline_s: float | None = None
    """break off a switchover that takes longer; default: see `switchover_deadline`"""
    forecast: Forecast | None = None
    """made before: the result has it beside what came"""
    migration_id: str = field(default_factory=lambda: secrets.token_hex(4), compare=False)
    """in the result, in every log line and metric; the relay shows the migration under it"""

    @property
    def plain(self) -> bool:
        """Whether QEMU connects straight to the destination, without the relay, and decides by itself."""
        return False

    @property
    def features(self) -> PlainFeatures:
        """QEMU's own features."""
        return PlainFeatures()


@dataclass(frozen=True, slots=True)
class MigrateOptions(Order):
    """One migration: from the QEMU behind ``source_qmp`` to ``destination``."""

    source_qmp: str
    """path of the source's QMP unix socket"""
    destination: str
    """where the destination QEMU listens: HOST:PORT or unix:PATH"""
    destination_qmp: str | None = None
    """path of the destination's QMP unix socket, if it can be reached from here"""
    incoming_uri: str | None = None
    """where a destination started with `-incoming defer` is to listen; default: ``destination``"""
    start_destination: bool = True
    """start the guest at the destination (needs ``destination_qmp``); False leaves it paused there"""
    wait_for_go: bool = False
    """stay near the end and do not switch over before a `Change` with ``go``"""
    cap_bps: int | None = None
    """the most that the relay may put on the link, in bytes per second, until a `Change` says otherwise"""
    compress: Compress = Compress.AUTO
    """send pages compressed, where the destination can be set up for it"""
    channels: int | None = None
    """compressed channels; without ``destination_qmp``, those that the destination was started with"""
    window_log: int = WINDOW_LOG
    """how far back in a channel the compressor looks, as a power of two"""
    plain: bool = False
    """without the relay: QEMU connects straight to the destination, and decides by itself"""
    features: PlainFeatures = PlainFeatures()
    """only for ``plain``, except uncompressed ``multifd_channels``: with the relay, at the source only"""
    compare_machines: bool = True
    """refuse a destination that would not load the guest before anything moves (needs ``destination_qmp``)"""
    result_path: Path | None = None
    """file for the result, which is written whatever the outcome"""
    facts_log: Path | None = None
    """file for the planner's facts and decisions, for replay"""
    relay_folder: Path | None = None
    """folder for the relay's socket; default: a fresh temporary folder"""
    tls_folder: Path | None = None
    """encrypt the link: folder with ca-cert.pem, client-cert.pem and client-key.pem, perhaps ca-crl.pem"""
    tls_hostname: str = ""
    """whom the destination's certificate must name; default: the host of ``destination``"""

    def check(self) -> None:
        """Raise UsageError when the options contradict each other."""
        destination = parse_address(self.destination)
        if self.tls_folder is None and self.tls_hostname:
            raise UsageError("--tls-hostname is for TLS only; give --tls-dir too")
        if self.tls_folder is not None:
            if self.plain:
                raise UsageError(
                    "--tls-dir is for the relay; with --plain QEMU encrypts: set tls-creds of both QEMUs"
                )
            host_to_verify(destination, self.tls_hostname)
        if self.incoming_uri is not None:
            check_incoming_uri(self.incoming_uri)
        parse_qmp_path(self.source_qmp, "--qmp")
        for path, name in ((self.result_path, "the result"), (self.facts_log, "the facts log")):
            if path is not None:
                check_output(path, name, stream=True)
        if self.destination_qmp is not None:
            parse_qmp_path(self.destination_qmp, "--destination-qmp")
        if not self.downtime_limit_s > 0:
            raise UsageError("the downtime limit must be positive, e.g. 300ms")
        compressed = self.features.multifd_channels and self.features.multifd_compression != "none"
        through = () if compressed else ("multifd-channels", "multifd-compression")
        names = [name for name in self.features.as_features() if name not in through]
        if not self.plain and names:
            raise UsageError(
                f"QEMU's own {', '.join(names)} cannot go through the relay; add --plain or drop the option"
            )
        cache = self.features.xbzrle_cache_bytes
        if cache is not None and (cache < 4096 or cache & (cache - 1)):
            raise UsageError(f"xbzrle cache of {cache} bytes: QEMU wants a power of two, e.g. 512MiB")
        if self.features.multifd_channels is not None and not 1 <= self.features.multifd_channels <= 255:
            raise UsageError("multifd channels: QEMU takes 1 to 255")
        if self.cap_bps is not None and self.plain:
            raise UsageError("--cap is for the relay; with --plain give --max-bandwidth")
        if self.channels is not None and not 1 <= self.channels <= CHANNELS_MAX:
            raise UsageError(f"--channels {self.channels}: choose 1 to {CHANNELS_MAX}")
        if self.channels is not None and (self.plain or self.compress is Compress.OFF):
            raise UsageError("--channels is about compressed pages: not with --plain or --compress off")
        if self.plain and self.compress is Compress.ON:
            raise UsageError("--compress on is for the relay: not with --plain")
        if not WINDOW_LOG_MIN <= self.window_log <= WINDOW_LOG:
            raise UsageError(f"a window of 2^{self.window_log} bytes: QEMU takes 2^{WINDOW_LOG} at most")
        if self.features.post_copy and self.wait_for_go:
            raise UsageError("--wait-for-go: post-copy moves the guest at once; choose one of the two")
        if self.features.post_copy and self.destination_qmp is None:
            raise UsageError("post-copy must be prepared at both ends: give --destination-qmp too")

    def check_tls_files(self) -> None:
        """Raise UsageError when the link is to be encrypted and ``tls_folder`` does not do for it."""
        if self.tls_folder is not None:
            load_tls(self.tls_folder, parse_address(self.destination), self.tls_hostname)

    def encrypted(self, source_parameters: Mapping[str, Any]) -> bool:
        """Return whether TLS comes to the destination: from the relay, or from QEMU itself."""
        if self.plain:
            return bool(source_parameters.get("tls-creds"))
        return self.tls_folder is not None


def switchover_deadline(limit_s: float, expected_s: float | None) -> float:
    """Return how long a switchover may take before it is broken off, in seconds.

    ``expected_s``: the predicted downtime, or a bound where nothing can be predicted. Three times
    ``expected_s`` leaves room for a link that slows down. Ten seconds is the minimum, because breaking
    off late costs little and breaking off early costs the migration.
    """
    return max(10.0, 20 * limit_s, 3 * (expected_s or 0.0))

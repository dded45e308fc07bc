"""``migrate --auto`` and ``--forecast``: a forecast before the migration, and the mode that it recommends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from pagethrift.cli.exits import complain
from pagethrift.cli.forecast import forecast_or_end
from pagethrift.errors import UsageError
from pagethrift.forecast.play import ForecastSettings
from pagethrift.forecast.probe import SECONDS, Probe
from pagethrift.given_file import read_json
from pagethrift.live.dry_run import QmpGuest, Watched
from pagethrift.live.migrate_options import MigrateOptions, PlainFeatures
from pagethrift.model.channels import Compress
from pagethrift.model.forecast import Forecast, ModeForecast, Setting
from pagethrift.strategies.table import DEFAULT
from pagethrift.units import parse_seconds

LARGEST_BYTES = 4 << 20
"""of a forecast's file; one with curves has 30 kB"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks of forecasts."""

    auto: bool = False
    watch_s: float | None = None
    """how long to watch the guest; None: not at all, unless ``auto`` needs it"""
    file: Path | None = None
    """a forecast made before"""

    @classmethod
    def of(cls, auto: bool, watch: str | None, file: Path | None) -> Asked:
        """Return what the options ask. Raises UsageError."""
        if file is not None and watch is not None:
            raise UsageError("--forecast takes a forecast made before, --watch makes one: give one of them")
        return cls(auto, parse_seconds(watch) if watch else None, file)

    def forecast(
        self, check: Callable[[], None], guest: Watched, settings: Callable[[], ForecastSettings]
    ) -> Forecast | None:
        """Return the forecast, made now or before; None where nobody asked for one.

        ``check`` and ``settings`` are called before a guest is watched. Raises UsageError, also for a
        forecast that is too old. A signal meanwhile ends the process.
        """
        if self.file is not None:
            made = read_forecast(self.file)
            if self.auto and time.time() > made.expires_unix_s:
                raise UsageError(
                    f"--forecast {self.file}: has expired; leave it out, and the guest is watched again"
                )
            return made
        if not self.auto and self.watch_s is None:
            return None
        check()
        return forecast_or_end(
            Probe(guest, SECONDS if self.watch_s is None else self.watch_s), None, settings()
        )


def forecasted(options: MigrateOptions, asked: Asked, as_json: bool = False) -> MigrateOptions:
    """Return the options with the forecast and, with --auto, in the mode that it recommends.

    Raises UsageError where it recommends none and no deadline forces the migration, and for a forecast that
    is too old. A signal meanwhile ends the process.
    """
    if asked.auto:
        _check(options)
    made = asked.forecast(options.check, QmpGuest(options.source_qmp), lambda: settings_for(options))
    if made is None:
        return options
    if made.libvirt:
        raise UsageError("--forecast: it is of a libvirt domain; pagethrift libvirt migrate takes it")
    show(made, as_json)
    return recommended(options, made) if asked.auto else replace(options, forecast=made)


def show(made: Forecast, as_json: bool) -> None:
    """Print a forecast for programs; people are told its sentence."""
    if as_json:
        typer.echo(json.dumps({"type": "forecast", **made.to_data()}))


def read_forecast(path: Path) -> Forecast:
    """Read a forecast's file. Raises UsageError."""
    try:
        return Forecast.from_data(read_json(path, LARGEST_BYTES))
    except UsageError as error:
        raise UsageError(f"--forecast {path}: {error}") from error


def settings_for(options: MigrateOptions) -> ForecastSettings:
    """Return what a forecast has to know of a migration with these options. Raises UsageError."""
    if options.bandwidth_bps is None:
        raise UsageError("a forecast needs the rate of the link: give --bandwidth, e.g. 1Gbit")
    # without its monitor a destination has channels only if the operator says so
    told = options.destination_qmp is not None or options.channels is not None
    return ForecastSettings(
        bandwidth_bps=options.bandwidth_bps,
        downtime_limit_s=options.downtime_limit_s,
        force_after_s=options.force_after_s,
        channels=options.compress is not Compress.OFF and told,
        relayed=options.tls_folder is not None,
    )


def recommended(options: MigrateOptions, made: Forecast) -> MigrateOptions:
    """Return the options in the mode that a forecast recommends. Raises UsageError where there is none."""
    mode = chosen(made, options.force_after_s)
    options = replace(options, forecast=made)
    if mode is None:
        return options
    if mode.plain:
        return replace(
            options, plain=True, features=_features(mode.features), compress=Compress.AUTO, channels=None
        )
    compress = options.compress if mode.channels else Compress.OFF
    channels = options.channels if mode.channels else None
    return replace(
        options, strategy=mode.strategy, parameters=numbers(mode), compress=compress, channels=channels
    )


def chosen(made: Forecast, force_after_s: float | None) -> ModeForecast | None:
    """Return the recommended mode, and tell why; None: none, and a deadline forces the migration.

    Raises UsageError where neither is so.
    """
    complain(made.recommendation.reason)
    mode = made.mode(made.recommendation.name)
    if mode is None and force_after_s is None:
        raise UsageError("nothing was moved: the forecast recommends no mode; choose one yourself")
    return mode


def _check(options: MigrateOptions) -> None:
    """Raise UsageError when the mode is chosen already."""
    given = options.strategy != DEFAULT or options.parameters or options.stop
    if given or options.plain or options.features != PlainFeatures():
        raise UsageError("--auto chooses the strategy and QEMU's features; leave your own out")


def _features(found: Mapping[str, Setting]) -> PlainFeatures:
    cache = found.get("xbzrle-cache-size")
    return PlainFeatures(
        xbzrle_cache_bytes=int(cache) if cache is not None else None,
        max_bandwidth_bps=int(found.get("max-bandwidth", 0)),
    )


def numbers(mode: ModeForecast) -> dict[str, float]:
    """Return the parameters of a mode's strategy."""
    return {name: float(value) for name, value in mode.parameters.items()}

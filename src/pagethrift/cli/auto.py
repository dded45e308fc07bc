"""``migrate --auto`` and ``--forecast``: a forecast before the migration, and the mode that it recommends."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from pagethrift.cli.exits import complain
from pagethrift.cli.forecast import forecast_or_end
from pagethrift.errors import UsageError
from pagethrift.forecast.play import ForecastSettings
from pagethrift.forecast.probe import SECONDS, Probe
from pagethrift.given_file import read_json
from pagethrift.live.migrate_options import MigrateOptions, PlainFeatures
from pagethrift.model.channels import Compress
from pagethrift.model.forecast import Forecast, ModeForecast, Setting
from pagethrift.strategies.table import DEFAULT

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


def forecasted(options: MigrateOptions, asked: Asked, as_json: bool = False) -> MigrateOptions:
    """Return the options with the forecast and, with --auto, in the mode that it recommends.

    Raises UsageError where it recommends none and no deadline forces the migration, and for a forecast that
    is too old. A signal meanwhile ends the process.
    """
    if asked.auto:
        _check(options)
    if asked.file is not None:
        if asked.watch_s is not None:
            raise UsageError("--forecast takes a forecast made before, --watch makes one: give one of them")
        made = read_forecast(asked.file)
        if asked.auto and time.time() > made.expires_unix_s:
            raise UsageError(
                f"--forecast {asked.file}: has expired; leave it out, and the guest is watched again"
            )
    elif asked.auto or asked.watch_s is not None:
        options.check()
        probe = Probe(options.source_qmp, SECONDS if asked.watch_s is None else asked.watch_s)
        made = forecast_or_end(probe, None, settings_for(options))
    else:
        return options
    if as_json:
        typer.echo(json.dumps({"type": "forecast", **made.to_data()}))
    return recommended(options, made) if asked.auto else replace(options, forecast=made)


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
    complain(made.recommendation.reason)
    mode = made.mode(made.recommendation.name)
    options = replace(options, forecast=made)
    if mode is None:
        if options.force_after_s is None:
            raise UsageError("nothing was moved: the forecast recommends no mode; choose one yourself")
        return options
    if mode.plain:
        return replace(
            options, plain=True, features=_features(mode.features), compress=Compress.AUTO, channels=None
        )
    compress = options.compress if mode.channels else Compress.OFF
    channels = options.channels if mode.channels else None
    parameters = _numbers(mode)
    return replace(
        options, strategy=mode.strategy, parameters=parameters, compress=compress, channels=channels
    )


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


def _numbers(mode: ModeForecast) -> dict[str, float]:
    return {name: float(value) for name, value in mode.parameters.items()}

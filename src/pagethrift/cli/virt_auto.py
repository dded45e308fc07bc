"""``libvirt migrate --auto`` and ``--forecast``: as of ``migrate``, for a domain."""

from __future__ import annotations

from dataclasses import replace

from pagethrift.cli.auto import Asked, chosen, numbers, show
from pagethrift.cli.forecast import under_libvirt
from pagethrift.errors import UsageError
from pagethrift.forecast.play import ForecastSettings
from pagethrift.model.forecast import Forecast
from pagethrift.strategies.table import DEFAULT
from pagethrift.virt.dry_run import DomainGuest
from pagethrift.virt.options import VirtOptions


def forecasted(options: VirtOptions, asked: Asked, as_json: bool = False) -> VirtOptions:
    """Return the options with the forecast and, with --auto, in the mode that it recommends.

    Raises UsageError where it recommends none and no deadline forces the migration, and for a forecast that
    is too old. A signal meanwhile ends the process.
    """
    if asked.auto and (options.strategy != DEFAULT or options.parameters or options.stop or options.parallel):
        raise UsageError("--auto chooses a strategy for one connection; leave your own and --parallel out")
    guest = DomainGuest(options.domain, options.source_uri)
    made = asked.forecast(options.check, guest, lambda: _settings(options))
    if made is None:
        return options
    if not made.libvirt:
        raise UsageError("--forecast: it is of no libvirt domain; make one with pagethrift forecast --domain")
    show(made, as_json)
    return _recommended(options, made) if asked.auto else replace(options, forecast=made)


def _settings(options: VirtOptions) -> ForecastSettings:
    if options.bandwidth_bps is None:
        raise UsageError("a forecast needs the rate of the link: give --bandwidth, e.g. 1Gbit")
    return under_libvirt(
        ForecastSettings(
            bandwidth_bps=options.bandwidth_bps,
            downtime_limit_s=options.downtime_limit_s,
            force_after_s=options.force_after_s,
            channels=False,
        )
    )


def _recommended(options: VirtOptions, made: Forecast) -> VirtOptions:
    mode = chosen(made, options.force_after_s)
    options = replace(options, forecast=made)
    if mode is None:
        return options
    return replace(options, strategy=mode.strategy, parameters=numbers(mode))

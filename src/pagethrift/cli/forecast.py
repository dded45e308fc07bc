"""``pagethrift forecast``: what a migration would take, said before anything moves."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from pagethrift.cli.common import DEFAULT_DOWNTIME_LIMIT, Connect, Json
from pagethrift.cli.ending import until_signal
from pagethrift.cli.exits import complain
from pagethrift.cli.forecast_view import Watching, shown
from pagethrift.cli.watched import guest_of
from pagethrift.errors import UsageError
from pagethrift.forecast.play import SPREAD, ForecastSettings
from pagethrift.forecast.probe import SECONDS, Probe, forecast_file, forecast_guest
from pagethrift.model.defaults import SOURCE_URI
from pagethrift.model.forecast import Forecast
from pagethrift.units import parse_bandwidth, parse_seconds
from pagethrift.whole_file import check_output, whole_file, write_text

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

PICTURES = (".svg", ".png", ".html")


@app.command(
    epilog="Example: pagethrift forecast --qmp /run/vm1.qmp --bandwidth 1Gbit --downtime-limit 300ms\n\n"
    "Exit codes: 0 forecast, 2 usage, 3 stream, 4 the socket broke, 5 QEMU refused, 10 libvirt refused,"
    " 130 interrupted."
)
def forecast(
    bandwidth: Annotated[str, typer.Option(help="The rate of the link, e.g. 1Gbit.")],
    qmp: Annotated[
        str | None, typer.Option(help="The QMP unix socket of the running QEMU.", metavar="SOCKET")
    ] = None,
    domain: Annotated[
        str | None, typer.Option(help="A running domain of this host's libvirt.", metavar="DOMAIN")
    ] = None,
    connect: Connect = SOURCE_URI,
    trace: Annotated[
        Path | None,
        typer.Option(help="A recording that pagethrift record made, instead of a guest.", metavar="FILE"),
    ] = None,
    bandwidth_spread: Annotated[
        float, typer.Option(help="The share by which the link may be faster or slower.", metavar="SHARE")
    ] = SPREAD,
    downtime_limit: Annotated[
        str, typer.Option(help="The longest downtime that you accept.")
    ] = DEFAULT_DOWNTIME_LIMIT,
    force_after: Annotated[
        str | None, typer.Option(help="As you would give it to migrate: when the switchover is forced.")
    ] = None,
    compress: Annotated[
        bool, typer.Option(help="Whether the destination can take compressed channels.")
    ] = True,
    seconds: Annotated[
        str, typer.Option(help="How long to watch the guest, after one pass over its memory.")
    ] = f"{SECONDS:g}s",
    out: Annotated[
        Path | None,
        typer.Option(help="Write the forecast to this file, for migrate --forecast.", metavar="FILE.json"),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw total time and downtime against the link's rate.", metavar="FILE.svg|.png|.html"
        ),
    ] = None,
    curve: Annotated[
        bool,
        typer.Option(
            "--curve", help="Also simulate slower and faster links, as --plot does; pagethrift evacuate does."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Say what a migration would take in each mode, and which mode to choose. Nothing moves.

    The guest is watched through a migration without a destination, which sees every page it writes. Then
    each mode is simulated on that recording. The guest runs on, and QEMU's settings are put back, also after
    Ctrl-C.
    """
    if sum(each is not None for each in (qmp, domain, trace)) != 1:
        raise UsageError("give one of --qmp SOCKET, --domain NAME and --trace FILE")
    settings = ForecastSettings(
        bandwidth_bps=parse_bandwidth(bandwidth),
        bandwidth_spread=bandwidth_spread,
        downtime_limit_s=parse_seconds(downtime_limit),
        force_after_s=parse_seconds(force_after) if force_after else None,
        channels=compress,
        curve=curve or plot is not None,
    )
    if domain is not None:
        settings = under_libvirt(settings)
    settings.check()
    if out is not None:
        check_output(out, "--out", stream=True)
    if plot is not None:
        _ready_to_draw(plot)
    guest = guest_of(qmp, domain, connect)
    made = forecast_or_end(Probe(guest, _watched_s(seconds)) if guest else None, trace, settings)
    if out is not None:
        _write(out, made.to_json())
    if plot is not None:
        _draw(plot, made)
    if json:
        typer.echo(made.to_json(), nl=False)
    else:
        shown(made, time.time())


def forecast_or_end(probe: Probe | None, trace: Path | None, settings: ForecastSettings) -> Forecast:
    """Make a forecast of a guest, or else of a trace, showing progress on standard error.

    A signal ends the process with code 130.
    """
    with Watching() as watching:
        if probe is not None:
            made, sentence = until_signal(
                lambda: forecast_guest(probe, settings, watching.watched, watching.simulated)
            )
        else:
            assert trace is not None
            made, sentence = until_signal(lambda: forecast_file(trace, settings, watching.simulated))
    if made is None:
        complain(f"interrupted; {sentence}")
        sys.exit(130)
    return made


def under_libvirt(settings: ForecastSettings) -> ForecastSettings:
    """Return settings for a domain: libvirt takes its part of every downtime."""
    from pagethrift.virt.switchover import LIBVIRT_S, UNREAD_BYTES

    return replace(settings, libvirt=True, added_s=LIBVIRT_S, unread_bytes=UNREAD_BYTES)


def _watched_s(text: str) -> float:
    """Return seconds; the option's name is unit enough. Raises UsageError."""
    return parse_seconds(f"{text}s" if text.strip().isdecimal() else text)


def _ready_to_draw(path: Path) -> None:
    """Find out before a guest is watched whether a picture can be made and written. Raises UsageError."""
    if path.suffix.lower() not in PICTURES:
        raise UsageError(f"--plot {path}: choose a name that ends in {', '.join(PICTURES)}")
    if any(find_spec(name) is None for name in ("matplotlib", "markupsafe")):
        raise UsageError("--plot needs the report extra: pip install '.[report]' in its sources")
    check_output(path, "--plot")


def _draw(path: Path, made: Forecast) -> None:
    # here, not above: a forecast without a picture needs no matplotlib
    from pagethrift.report.drawing import picture
    from pagethrift.report.forecast_plot import SIZE_IN, drawing, in_words

    title = f"Forecast for {made.guest}"
    content = picture(drawing(made), SIZE_IN, path.suffix, title, in_words(made))
    try:
        with whole_file(path) as draft:
            draft.write_bytes(content)
    except OSError as error:
        raise UsageError(f"--plot {path}: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise UsageError(f"--out {path}: {error.strerror}") from error

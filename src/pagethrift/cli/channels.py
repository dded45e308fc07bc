"""Options for compressed channels to the destination."""

from __future__ import annotations

import uuid
from typing import Annotated, TypeAlias

import typer

from pagethrift.errors import UsageError
from pagethrift.model.channels import (
    CHANNELS_MAX,
    WINDOW_LOG,
    ChannelSettings,
    Compress,
    parse_window,
)

DEFAULT_WINDOW = f"{1 << WINDOW_LOG >> 20}MiB"

Channels: TypeAlias = Annotated[
    int,
    typer.Option(
        help="Over so many multifd channels the destination takes pages compressed with zstd; 0: it was"
        " started without multifd.",
        metavar="N",
    ),
]
CompressOption: TypeAlias = Annotated[
    Compress,
    typer.Option(
        help="Which pages travel compressed. auto: as many as the processor manages without the link"
        " running dry."
    ),
]
Window: TypeAlias = Annotated[
    str,
    typer.Option(
        help="How far back in a channel the compressor looks. It costs this much memory, for each channel,"
        " at both ends.",
        metavar="SIZE",
    ),
]


def channel_settings(
    channels: int, compress: Compress, window: str, guest_uuid: str
) -> ChannelSettings | None:
    """Return the settings, None without channels. Raises UsageError."""
    log = parse_window(window, "--window")
    try:
        number = uuid.UUID(guest_uuid).bytes if guest_uuid else bytes(16)
    except ValueError as error:
        raise UsageError(f"--guest-uuid {guest_uuid}: not a UUID; ask the source with query-uuid") from error
    if not 0 <= channels <= CHANNELS_MAX:
        raise UsageError(f"--channels {channels}: choose 1 to {CHANNELS_MAX}, or 0 for a plain destination")
    if not channels:
        if compress is Compress.ON:
            raise UsageError("--compress on: needs a destination with multifd; give --channels, as it has")
        return None
    if compress is Compress.OFF:
        raise UsageError(
            f"--channels {channels}: its destination takes compressed pages, so not with --compress off"
        )
    return ChannelSettings(channels, number, compress, window_log=log)

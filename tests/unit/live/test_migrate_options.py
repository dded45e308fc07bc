"""Options that contradict each other are refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import UsageError
from pagethrift.live.migrate_options import MigrateOptions, PlainFeatures, switchover_deadline


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"destination": "nonsense"}, "not an address"),
        ({"incoming_uri": "tcp://h:1"}, "not a host name"),
        ({"source_qmp": "tcp:h:5555"}, "^--qmp .*a Unix socket is needed"),
        ({"destination_qmp": "h:5555"}, "^--destination-qmp .*a Unix socket is needed"),
        ({"downtime_limit_s": 0.0}, "must be positive"),
        ({"features": PlainFeatures(auto_converge=True)}, "--plain"),
        (
            {"features": PlainFeatures(multifd_channels=2, multifd_compression="zstd")},
            "multifd-compression .*--plain",
        ),
        ({"features": PlainFeatures(multifd_channels=0)}, "1 to 255"),
        ({"plain": True, "features": PlainFeatures(xbzrle_cache_bytes=5000)}, "power of two"),
        ({"plain": True, "features": PlainFeatures(multifd_channels=256)}, "1 to 255"),
        ({"tls_hostname": "host2"}, "--tls-hostname is for TLS only; give --tls-dir too"),
        ({"tls_folder": Path("/etc/pki"), "plain": True}, "--tls-dir is for the relay; with --plain"),
        ({"tls_folder": Path("/etc/pki"), "destination": "unix:/d"}, "give --tls-hostname too"),
        ({"plain": True, "features": PlainFeatures(post_copy=True)}, "--destination-qmp"),
    ],
)
def test_refused(changes: dict[str, Any], message: str) -> None:
    options = MigrateOptions(**({"source_qmp": "/q", "destination": "host:4444"} | changes))
    with pytest.raises(UsageError, match=message):
        options.check()


def test_accepted() -> None:
    MigrateOptions("/q", "host:4444").check()
    for uri in (
        "tcp:0:4444",
        "tcp:[::]:4444,ipv6=on",
        "unix:/run/in",
        ":4444",
        "fd:3",
        "exec:cat",
        "vsock:3:4",
    ):
        MigrateOptions("/q", "host:4444", incoming_uri=uri).check()
    MigrateOptions("/q", "host:4444", features=PlainFeatures(multifd_channels=4)).check()
    MigrateOptions("/q", "unix:/d", plain=True, features=PlainFeatures(xbzrle_cache_bytes=1 << 29)).check()


def test_features_by_qemus_names() -> None:
    features = PlainFeatures(1 << 29, True, True, 1, 4, "zstd", 0)
    assert features.as_features() == {
        "xbzrle-cache-size": 1 << 29,
        "auto-converge": True,
        "postcopy-ram": True,
        "multifd-channels": 4,
        "multifd-compression": "zstd",
        "max-bandwidth": 0,
    }
    assert PlainFeatures().as_features() == {}


def test_deadline_of_a_switchover() -> None:
    assert switchover_deadline(0.3, None) == 10.0
    assert switchover_deadline(2.0, 1.0) == 40.0
    assert switchover_deadline(0.3, 60.0) == 180.0


@pytest.mark.parametrize(
    ("changes", "at_source", "encrypted"),
    [
        ({}, "", False),
        ({}, "tls0", False),
        ({"tls_folder": Path("/etc/pki")}, "", True),
        ({"plain": True}, "", False),
        ({"plain": True}, "tls0", True),
    ],
)
def test_whether_tls_comes_to_the_destination(
    changes: dict[str, Any], at_source: str, encrypted: bool
) -> None:
    """From the relay only when it encrypts; in a plain migration from QEMU."""
    options = MigrateOptions("/q", "host:4444", **changes)
    assert options.encrypted({"tls-creds": at_source}) is encrypted

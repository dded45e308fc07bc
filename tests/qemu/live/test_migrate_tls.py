"""Whole migrations over TLS between two real QEMUs, and what is refused before anything moves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import LinkError, PagethriftError, QmpError, UsageError
from pagethrift.live.check import check
from pagethrift.live.migrate import migrate
from pagethrift.model.result import Outcome
from tests.certificates import Authority, client_folder, server_folder
from tests.qemu.live.pair import After, Pair, running_pair, slow_link
from tests.qemu.machines import QemuLike, differing_pages


@dataclass
class Place:
    """Two QEMUs with credentials of one authority, and our folder."""

    pair: Pair
    ours: Authority
    server: Path
    client: Path

    def options(self, **changes: Any) -> dict[str, Any]:
        return {"tls_folder": self.client, "tls_hostname": "localhost"} | changes

    def credentials(self, folder: Path) -> None:
        """Give the destination these credentials, and let it expect TLS."""
        self.pair.destination.qmp.command(
            "object-add",
            {"qom-type": "tls-creds-x509", "id": "tls0", "dir": str(folder), "endpoint": "server"},
        )
        self.pair.destination.qmp.command("migrate-set-parameters", {"tls-creds": "tls0"})

    def refused(self, error: type[PagethriftError], says: str, **changes: Any) -> None:
        """Migrate; it must fail with that line, and the guest run on at the source."""
        options = self.pair.options(**self.options(**changes))
        with pytest.raises(error, match=says) as caught:
            asyncio.run(migrate(options))
        assert "\n" not in str(caught.value)
        assert self.pair.states()[0] == "running"
        assert self.pair.parameter("downtime-limit") == 300


@pytest.fixture
def place(binary: QemuLike, folder: Path) -> Iterator[Place]:
    ours = Authority()
    with running_pair(binary, folder) as pair:
        server = server_folder(folder / "server", ours)
        yield Place(pair, ours, server, client_folder(folder / "client", ours))


def test_memory_is_equal_and_the_sources_credentials_come_back(place: Place) -> None:
    """The source expects TLS as well: its tls-creds are set aside, since the relay encrypts."""
    pair = place.pair
    place.credentials(place.server)
    pair.source.qmp.command(
        "object-add",
        {"qom-type": "tls-creds-x509", "id": "own", "dir": str(place.client), "endpoint": "client"},
    )
    pair.source.qmp.command("migrate-set-parameters", {"tls-creds": "own"})
    assert asyncio.run(check(pair.options(**place.options()))) == []

    async def run() -> Any:
        async with slow_link(pair) as options:
            changed = replace(options, start_destination=False, **place.options())
            return await migrate(changed, decider=After(round=2))

    result = asyncio.run(run())
    assert result.outcome is Outcome.COMPLETED
    assert result.pages.delta + result.pages.skipped > 0
    assert pair.states() == ("postmigrate", "paused")
    assert differing_pages(pair.source.dump_ram(), pair.destination.dump_ram()) == []
    assert pair.parameter("tls-creds") == "own"
    assert pair.parameter("downtime-limit") == 300


def test_a_destination_that_expects_tls_is_not_spoken_to_plainly(place: Place) -> None:
    place.credentials(place.server)
    says = "expects TLS .tls-creds is tls0.; give --tls-dir"
    place.refused(QmpError, says, tls_folder=None, tls_hostname="")
    (line,) = asyncio.run(check(place.pair.options()))
    assert "give --tls-dir" in line


def test_a_destination_that_expects_none(place: Place) -> None:
    place.refused(QmpError, "expects no TLS .tls-creds is empty.; set its tls-creds")
    (line,) = asyncio.run(check(place.pair.options(**place.options())))
    assert "expects no TLS" in line
    assert place.pair.states() == ("running", "inmigrate")


def test_files_are_checked_before_anything_moves(place: Place) -> None:
    place.credentials(place.server)
    place.ours.issue(place.client, "client", days=-1)
    says = "client-cert.pem would be refused: certificate has expired"
    place.refused(UsageError, says)
    (line,) = asyncio.run(check(place.pair.options(**place.options())))
    assert says in line
    assert place.pair.states() == ("running", "inmigrate")


def test_a_source_with_tls_is_not_made_plain_silently(place: Place) -> None:
    place.pair.source.qmp.command(
        "object-add",
        {"qom-type": "tls-creds-x509", "id": "own", "dir": str(place.client), "endpoint": "client"},
    )
    place.pair.source.qmp.command("migrate-set-parameters", {"tls-creds": "own"})
    place.refused(QmpError, "with --tls-dir, or set tls-creds to an empty", tls_folder=None, tls_hostname="")
    assert place.pair.parameter("tls-creds") == "own"


@pytest.mark.parametrize("wrong", ["authority", "host", "ours"])
def test_a_wrong_certificate_and_the_guest_runs_on(place: Place, wrong: str) -> None:
    stranger = Authority("stranger")
    says = {
        "authority": "its certificate is of no authority in .*; the guest runs on at the source",
        "host": "its certificate is not for localhost.*; the guest runs on at the source",
        "ours": "it may have refused .*client-cert.pem.*; the guest runs on at the source",
    }[wrong]
    if wrong == "authority":
        stranger.issue(place.server, "server", ["localhost"])
        (place.server / "ca-cert.pem").write_bytes(stranger.pem + place.ours.pem)
    elif wrong == "host":
        place.ours.issue(place.server, "server", ["host3"])
    else:
        stranger.issue(place.server, "server", ["localhost"])
        (place.server / "ca-cert.pem").write_bytes(stranger.pem)
        (place.client / "ca-cert.pem").write_bytes(place.ours.pem + stranger.pem)
    place.credentials(place.server)
    place.refused(LinkError, says)


def test_plain_with_qemus_own_tls_at_both_ends(place: Place) -> None:
    """TLS comes from the source itself; pagethrift leaves its settings as they are."""
    pair = place.pair
    pair.source.qmp.command(
        "object-add",
        {"qom-type": "tls-creds-x509", "id": "own", "dir": str(place.client), "endpoint": "client"},
    )
    pair.source.qmp.command("migrate-set-parameters", {"tls-creds": "own", "tls-hostname": "localhost"})
    place.refused(QmpError, "expects no TLS", plain=True, tls_folder=None, tls_hostname="")
    place.credentials(place.server)
    assert asyncio.run(check(pair.options(plain=True))) == []
    result = asyncio.run(migrate(pair.options(plain=True)))
    assert result.outcome is Outcome.COMPLETED
    assert pair.states() == ("postmigrate", "running")
    assert pair.parameter("tls-creds") == "own"

"""A folder of certificates is refused in one line before anything moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pagethrift.address import Address, parse_address
from pagethrift.errors import UsageError
from pagethrift.tls import host_to_verify, load_tls
from tests.certificates import SERVER, Authority, client_folder

TO = Address(host="host2", port=4444)


def break_missing(folder: Path, ours: Authority) -> None:
    (folder / "client-key.pem").unlink()


def break_folder(folder: Path, ours: Authority) -> None:
    folder.rename(folder.with_name("elsewhere"))


def break_unreadable(folder: Path, ours: Authority) -> None:
    (folder / "client-key.pem").unlink()
    (folder / "client-key.pem").mkdir()


def break_no_pem(folder: Path, ours: Authority) -> None:
    (folder / "client-cert.pem").write_text("certificate")


def break_damaged(folder: Path, ours: Authority) -> None:
    path = folder / "client-cert.pem"
    path.write_text(path.read_text().replace("M", "N", 3))


def break_key(folder: Path, ours: Authority) -> None:
    kept = (folder / "client-cert.pem").read_bytes()
    ours.issue(folder, "client")
    (folder / "client-cert.pem").write_bytes(kept)


def break_encrypted(folder: Path, ours: Authority) -> None:
    ours.issue(folder, "client", password=b"secret")


def break_expired(folder: Path, ours: Authority) -> None:
    ours.issue(folder, "client", days=-1)


def break_authority_expired(folder: Path, ours: Authority) -> None:
    old = Authority("old", days=-1)
    (folder / "ca-cert.pem").write_bytes(old.pem)
    old.issue(folder, "client")


def break_authority(folder: Path, ours: Authority) -> None:
    Authority("another").issue(folder, "client")


def break_use(folder: Path, ours: Authority) -> None:
    ours.issue(folder, "client", use=SERVER)


def break_revoked(folder: Path, ours: Authority) -> None:
    ours.revoke(folder, ours.issue(folder, "client"))


def break_no_authority(folder: Path, ours: Authority) -> None:
    (folder / "ca-cert.pem").write_bytes((folder / "client-cert.pem").read_bytes())


def break_crl(folder: Path, ours: Authority) -> None:
    (folder / "ca-crl.pem").write_text("nothing")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (break_missing, "no client-key.pem in it; it must hold ca-cert.pem, client-cert.pem and"),
        (break_folder, "no ca-cert.pem in it"),
        (break_unreadable, "client-key.pem cannot be read: Is a directory"),
        (break_no_pem, "client-cert.pem holds no certificate in PEM form"),
        (break_damaged, "client-cert.pem or client-key.pem cannot be used: PEM lib"),
        (break_key, "client-key.pem is not the key of client-cert.pem"),
        (break_encrypted, "client-key.pem is encrypted"),
        (break_expired, "client-cert.pem would be refused: certificate has expired"),
        (break_authority_expired, "ca-cert.pem would be refused: certificate has expired"),
        (break_authority, "client-cert.pem would be refused: .*issuer"),
        (break_use, "client-cert.pem would be refused: .*purpose"),
        (break_revoked, "client-cert.pem would be refused: certificate revoked"),
        (break_no_authority, "ca-cert.pem holds no certificate of an authority"),
        (break_crl, "ca-crl.pem holds no x509 crl in PEM form"),
    ],
)
def test_what_would_be_refused(tmp_path: Path, damage: Callable[[Path, Authority], None], says: str) -> None:
    ours = Authority()
    folder = client_folder(tmp_path / "tls", ours)
    damage(folder, ours)
    with pytest.raises(UsageError, match=says) as caught:
        load_tls(folder, TO)
    line = str(caught.value)
    assert line.startswith(f"--tls-dir {folder}: ")
    assert "\n" not in line
    assert "_ssl" not in line


def test_a_good_folder(tmp_path: Path) -> None:
    ours = Authority()
    folder = client_folder(tmp_path / "tls", ours)
    ours.revoke(folder)
    tls = load_tls(folder, TO)
    assert (tls.host, tls.certificate) == ("host2", folder / "client-cert.pem")
    assert load_tls(folder, Address(path="/run/in"), "host3").host == "host3"


@pytest.mark.parametrize(
    ("to", "given", "host"),
    [
        ("host2:4444", "", "host2"),
        ("host2:4444", "other", "other"),
        ("[fe80::1%eth0]:4444", "", "fe80::1"),
        ("unix:/run/in", "host2", "host2"),
    ],
)
def test_whom_the_certificate_must_name(to: str, given: str, host: str) -> None:
    assert host_to_verify(parse_address(to), given) == host


def test_a_unix_socket_names_nobody() -> None:
    with pytest.raises(UsageError, match="give --tls-hostname too"):
        host_to_verify(Address(path="/run/in"), "")


@pytest.mark.parametrize("name", [".", "a\0b", "ü" * 100])
def test_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--tls-hostname"):
        load_tls(client_folder(tmp_path / "tls", Authority()), TO, name)

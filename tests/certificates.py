"""Throwaway authorities and certificates, laid out as QEMU and libvirt lay them out."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


class Authority:
    """One certificate authority; each ``issue`` makes a key and a certificate."""

    def __init__(self, name: str = "test authority", days: int = 2) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = (
            _builder(self._name, self._name, self._key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        folder: Path,
        role: str,
        names: Sequence[str] = (),
        days: int = 1,
        password: bytes | None = None,
        use: x509.ObjectIdentifier | None = None,
    ) -> x509.Certificate:
        """Write ``role``-cert.pem and ``role``-key.pem; a negative ``days`` is in the past."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {role}")])
        builder = (
            _builder(subject, self._name, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([use or (CLIENT if role == "client" else SERVER)]), critical=False
            )
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
            )
        made = builder.sign(self._key, hashes.SHA256())
        hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        (folder / f"{role}-cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        (folder / f"{role}-key.pem").write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
        )
        return made

    def revoke(self, folder: Path, *revoked: x509.Certificate) -> None:
        """Write ca-crl.pem."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(NOW - DAY)
            .next_update(NOW + DAY)
        )
        for each in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(each.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(NOW - DAY).build())
        made = builder.sign(self._key, hashes.SHA256())
        (folder / "ca-crl.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))


def client_folder(path: Path, believed: Authority, issuer: Authority | None = None, days: int = 1) -> Path:
    """Make what --tls-dir names: whom we believe, and what we show."""
    path.mkdir()
    (path / "ca-cert.pem").write_bytes(believed.pem)
    (issuer or believed).issue(path, "client", days=days)
    return path


def server_folder(
    path: Path,
    believed: Authority,
    names: Sequence[str] = ("localhost", "127.0.0.1"),
    issuer: Authority | None = None,
    days: int = 1,
) -> Path:
    """Make the folder of a destination's tls-creds-x509."""
    path.mkdir()
    (path / "ca-cert.pem").write_bytes(believed.pem)
    (issuer or believed).issue(path, "server", names, days)
    return path


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 10 * DAY)
        .not_valid_after(NOW + days * DAY)
    )


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, key_encipherment=not signs, key_cert_sign=signs, crl_sign=signs,
        content_commitment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)

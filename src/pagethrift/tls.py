"""TLS on the link: whom the destination must be, and our own certificate, checked before anything moves.

The folder is laid out as QEMU's tls-creds-x509 and libvirt lay it out. QEMU's rules hold: TLS 1.3, both sides
show a certificate of the authorities in ca-cert.pem, and the destination's names the host that we meant.
"""

from __future__ import annotations

import contextlib
import re
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pagethrift.address import Address
from pagethrift.errors import UsageError

CA, CRL, CERTIFICATE, KEY = "ca-cert.pem", "ca-crl.pem", "client-cert.pem", "client-key.pem"
_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED (openssl/x509_vfy.h)"""
_PLACE = re.compile(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$")
_TURNS = 8
"""a handshake in memory takes three"""


@dataclass(frozen=True, slots=True)
class TlsClient:
    """What every connection of a migration is encrypted with."""

    context: ssl.SSLContext
    folder: Path
    host: str
    """whom the destination's certificate must name"""

    @property
    def authorities(self) -> Path:
        """The file with the authorities that we believe."""
        return self.folder / CA

    @property
    def certificate(self) -> Path:
        """The file with what we show."""
        return self.folder / CERTIFICATE


def host_to_verify(destination: Address, given: str) -> str:
    """Return the name that the destination's certificate must have. Raises UsageError.

    QEMU's rule for its parameter tls-hostname: what is given, else the host of the address.
    """
    if given:
        return given
    if destination.path:
        raise UsageError(
            f"{destination} names no host that a certificate could be for; give --tls-hostname too"
        )
    return destination.host.partition("%")[0]  # a zone is this machine's business


def load_tls(folder: Path, destination: Address, hostname: str = "") -> TlsClient:
    """Read and check a folder's files. Raises UsageError.

    Our own certificate is verified as the destination will verify it: dates, authority, use, revocation.
    """
    host = host_to_verify(destination, hostname)
    for name, needed in ((CA, "CERTIFICATE"), (CERTIFICATE, "CERTIFICATE"), (KEY, "PRIVATE KEY")):
        _check_readable(folder, name, needed)
    with _one_line(folder, CA):
        context = _context(ssl.PROTOCOL_TLS_CLIENT, folder)
    if not context.cert_store_stats()["x509_ca"]:
        raise UsageError(f"--tls-dir {folder}: {CA} holds no certificate of an authority")
    try:
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=host)
    except (ValueError, TypeError) as error:
        raise UsageError(f"--tls-hostname {host!r}: no host name: {error}") from error
    _verify_own(folder)
    return TlsClient(context, folder, host)


def _context(protocol: ssl._SSLMethod, folder: Path) -> ssl.SSLContext:
    """Return settings that verify the other side and show our certificate. Raises OSError, UsageError."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(folder / CA)
    if (folder / CRL).exists():
        _check_readable(folder, CRL, "X509 CRL")
        context.load_verify_locations(folder / CRL)
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF

    def no_password() -> NoReturn:  # without it OpenSSL would ask on the terminal
        raise UsageError(
            f"--tls-dir {folder}: {KEY} is encrypted; QEMU's layout wants a plain one, mode 0600"
        )

    with _one_line(folder, f"{CERTIFICATE} or {KEY}"):
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY, no_password)
    return context


@contextlib.contextmanager
def _one_line(folder: Path, name: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UsageError(
                f"--tls-dir {folder}: {KEY} is not the key of {CERTIFICATE}; take both of one making"
            ) from error
        raise UsageError(f"--tls-dir {folder}: {name} cannot be used: {words(error)}") from error


def _check_readable(folder: Path, name: str, needed: str) -> None:
    try:
        text = (folder / name).read_bytes()
    except FileNotFoundError as error:
        raise UsageError(
            f"--tls-dir {folder}: no {name} in it; it must hold {CA}, {CERTIFICATE} and {KEY}"
        ) from error
    except OSError as error:
        raise UsageError(f"--tls-dir {folder}: {name} cannot be read: {error.strerror or error}") from error
    if f"{needed}-----".encode() not in text:
        raise UsageError(f"--tls-dir {folder}: {name} holds no {needed.lower()} in PEM form")


def _verify_own(folder: Path) -> None:
    """Show our certificate to a server of our own that believes the same authorities. Raises UsageError."""
    server_context, client_context = (
        _context(protocol, folder) for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)
    )
    client_context.check_hostname = False  # a client's certificate need not do for a server
    client_context.verify_mode = ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = client_context.wrap_bio(down, up), server_context.wrap_bio(up, down, server_side=True)
    try:
        for _ in range(_TURNS):
            for side in (client, server):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        name = CERTIFICATE
        if error.verify_code == _EXPIRED and _an_authority_expired(server_context):
            name = CA
        raise UsageError(
            f"--tls-dir {folder}: {name} would be refused: {error.verify_message}; renew it, or take one that"
            f" belongs to {CA}"
        ) from error
    except ssl.SSLError as error:
        raise UsageError(f"--tls-dir {folder}: {CERTIFICATE} cannot be used: {words(error)}") from error


def _an_authority_expired(context: ssl.SSLContext) -> bool:
    return any(
        ssl.cert_time_to_seconds(str(each["notAfter"])) < time.time() for each in context.get_ca_certs()
    )


def words(error: OSError) -> str:
    """Return what OpenSSL says, without the place in Python's sources."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, str):
        return reason.replace("_", " ").lower()
    return _PLACE.sub("", error.strerror or str(error))

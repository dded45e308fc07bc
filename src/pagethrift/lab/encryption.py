"""TLS between the two QEMUs of a run (a mode's ``+tls``), with an authority and certificates made for it.

The folders are laid out as QEMU and libvirt lay them out: docs/operating.md, TLS on the link.
"""

from __future__ import annotations

from pathlib import Path

from pagethrift.lab.guest.machine import Machine
from pagethrift.lab.guest.monitor import Monitor
from pagethrift.lab.link.tunnels import run_program, tunnel_program

CREDENTIALS = "tls0"
"""the id of the QEMUs' tls-creds-x509 objects"""
_NEW = ("req", "-x509", "-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def encrypt(source: Machine | None, destination: Machine, host: str, folder: Path) -> Path:
    """Let the destination take TLS only, as ``host``, and the source connect so; return the client's folder.

    ``source`` None: the relay connects, with the client's folder. Raises LabError and QmpError.
    """
    server, client = _folders(folder, host)
    for machine, place, endpoint in ((source, client, "client"), (destination, server, "server")):
        if machine is None:
            continue
        made = {"qom-type": "tls-creds-x509", "id": CREDENTIALS, "dir": str(place), "endpoint": endpoint}
        used = {"tls-creds": CREDENTIALS} | ({"tls-hostname": host} if endpoint == "client" else {})
        with Monitor(machine.observer_qmp_path) as monitor:
            monitor.execute("object-add", {**made, "verify-peer": True})
            monitor.execute("migrate-set-parameters", used)
    return client


def _folders(folder: Path, host: str) -> tuple[Path, Path]:
    """Make an authority, and the folders of a server that is ``host`` and of a client."""
    openssl, settings = tunnel_program("openssl", "openssl"), folder / "tls-openssl.conf"
    settings.write_text("[req]\ndistinguished_name = name\n[name]\n")  # no extensions but those below
    authority, key = folder / "ca-cert.pem", folder / "ca-key.pem"

    def make(name: str, certificate: Path, own_key: Path, *more: str) -> None:
        run_program([
            openssl, *_NEW, "-config", str(settings), "-subj", f"/CN=pagethrift-{name}",
            "-keyout", str(own_key), "-out", str(certificate),
            *(word for extension in more for word in ("-addext", extension)),
            *(() if certificate == authority else ("-CA", str(authority), "-CAkey", str(key))),
        ])  # fmt: skip

    make("authority", authority, key, "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")
    made = []
    for role, more in (("server", (f"subjectAltName=IP:{host}",)), ("client", ())):
        place = folder / f"tls-{role}"
        place.mkdir()
        (place / "ca-cert.pem").write_bytes(authority.read_bytes())
        make(
            role, place / f"{role}-cert.pem", place / f"{role}-key.pem", f"extendedKeyUsage={role}Auth", *more
        )
        made.append(place)
    return made[0], made[1]

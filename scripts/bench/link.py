"""``python -m scripts.bench.link``: MB/s of the relay's outlet with and without TLS, over TCP and Unix.

The outlet and its connection run as in a relay. A process of its own takes the bytes from the socket and
drops them; it does not decrypt, so what is measured is our side. Pieces are those of full pages as the
thinner sends them, or large ones.
"""

from __future__ import annotations

import argparse
import os
import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.bench import machine, output
from scripts.bench.rounds import spread
from tests.certificates import Authority, client_folder, server_folder

from pagethrift.address import Address
from pagethrift.engine.output import Output
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.relay.connecting import open_connection
from pagethrift.relay.outlet import Outlet
from pagethrift.stream.input import Received
from pagethrift.tls import TlsClient, load_tls

HEAD_BYTES = 8
"""of a page in the block of the page before it"""
OUTPUT_BYTES = 1 << 20
STALL_S = 60.0
DROP_BYTES = 1 << 20
KEYS = ("mb_per_s", "cpu_s_per_gb")


def fill_large(output: Output, lender: Received) -> None:
    """Put one large piece into an output."""
    output.borrow(0, lender, 0, OUTPUT_BYTES)


def fill_pages(output: Output, lender: Received) -> None:
    """Put full pages into an output, each head apart from its page."""
    for page in range(OUTPUT_BYTES // PAGE_BYTES):
        output.size += HEAD_BYTES
        output.borrow(output.size, lender, page * PAGE_BYTES, (page + 1) * PAGE_BYTES)


SHAPES: dict[str, Callable[[Output, Received], None]] = {"large pieces": fill_large, "pages": fill_pages}


def run(
    address: Address, tls: TlsClient | None, fill: Callable[[Output, Received], None], mib: int
) -> tuple[float, float]:
    """Send so many MiB; return MB/s and CPU seconds a GB of this process."""
    lender = Received(OUTPUT_BYTES)
    lender.data[:] = 1
    errors: list[Exception] = []
    outlet = Outlet(open_connection(address, tls), STALL_S, errors.append)
    sent = 0
    began_s, cpu_s = time.perf_counter(), time.process_time()
    for _ in range(mib * (1 << 20) // OUTPUT_BYTES):
        taken = outlet.take()
        fill(taken, lender)
        sent += taken.total_bytes
        outlet.put(taken)
    outlet.finish()
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    outlet.close()
    if errors:
        raise errors[0]
    return sent / took_s / 1e6, cpu_s / sent * 1e9


def serve(listener: socket.socket, context: ssl.SSLContext | None) -> int:
    """Start a process that takes one connection and drops its bytes; return its number."""
    child = os.fork()  # no thread runs now
    if child:
        return child
    try:
        accepted, _ = listener.accept()
        if context is not None:
            accepted = socket.socket(fileno=context.wrap_socket(accepted, server_side=True).detach())
        room = bytearray(DROP_BYTES)
        while accepted.recv_into(room):
            pass
    finally:
        os._exit(0)


def measure(rounds: int, mib: int, show: Callable[[str], None]) -> dict[str, Any]:
    """Return the result document."""
    with tempfile.TemporaryDirectory(prefix="ptl") as name:
        folder, ours = Path(name), Authority()
        server = server_folder(folder / "server", ours)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server / "server-cert.pem", server / "server-key.pem")
        listeners = {"TCP": socket.create_server(("127.0.0.1", 0)), "Unix": socket.socket(socket.AF_UNIX)}
        listeners["Unix"].bind(f"{folder}/link")
        listeners["Unix"].listen()
        places = {
            "TCP": Address(host="127.0.0.1", port=listeners["TCP"].getsockname()[1]),
            "Unix": Address(path=f"{folder}/link"),
        }
        tls = load_tls(client_folder(folder / "client", ours), places["TCP"])
        taken: dict[str, list[tuple[float, float]]] = {}
        for _ in range(rounds):
            for place, address in places.items():
                for shape, fill in SHAPES.items():
                    for kind in (None, tls):
                        child = serve(listeners[place], context if kind else None)
                        figures = run(address, kind, fill, mib)
                        os.waitpid(child, 0)
                        taken.setdefault(f"{place}, {shape}, {'TLS' if kind else 'plain'}", []).append(
                            figures
                        )
        for listener in listeners.values():
            listener.close()
    measures = {
        name: {
            key: spread(list(values)) for key, values in zip(KEYS, zip(*figures, strict=True), strict=True)
        }
        for name, figures in taken.items()
    }
    for name, figure in measures.items():
        speed, cost = (figure[key]["median"] for key in KEYS)
        show(f"{name:28} {speed:6.0f} MB/s {cost:.2f} CPU s/GB")
    return {
        "kind": "pagethrift-bench-link", "version": 1, "machine": machine.facts(), "load": machine.load(),
        "openssl": ssl.OPENSSL_VERSION, "mib": mib, "measures": measures,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.link", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/bench-link.json"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=256, help="to send in each measure")
    options = parser.parse_args(arguments)
    output.write_json(options.out, measure(options.rounds, options.mib, print))
    print(options.out)


if __name__ == "__main__":
    main()

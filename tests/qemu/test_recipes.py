"""Recipes for managers, on real QEMUs: what they do around QEMU is played, what pagethrift does is real."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.exchanging import ExchangeProcess, exchange_arguments, service_arguments
from tests.nat import V4, nat_namespace
from tests.proxies import Proxy, both_tls, unix_listener
from tests.qemu import test_multifd as multifd
from tests.qemu.machines import Machine, QemuLike, begin, destination, differing_pages, finish, source
from tests.qemu.tiny import EVERY_PATTERN as PATTERNS
from tests.qemu.tiny import MIB
from tests.services import ServiceProcess

pytestmark = pytest.mark.one_qemu

SLOW_LINK = {"max-bandwidth": 16 << 20, "downtime-limit": 1}
RAM_BYTES = 32 * MIB
VMI = "5d1c9a52-7f0e-4c57-9f0c-3a1f6f0c2b11"


def pod(pods: Path, name: str) -> Path:
    """Make a launcher's folder as kubelet does; return a short way to its /var/run/kubevirt."""
    volume = pods / name / "volumes/kubernetes.io~empty-dir/public"
    (volume / "migrationproxy").mkdir(parents=True)
    seen = pods.parent / name
    seen.symlink_to(volume)
    return seen / "migrationproxy"


def test_kubevirts_sockets_are_exchanged_before_its_tls(qemu_binary: QemuLike, short_path: Path) -> None:
    """Both launchers use one name for their sockets; the source's is exchanged, the destination's is not."""
    slots, pods = short_path / "slots", short_path / "pods"
    slots.mkdir()
    pods.mkdir()
    ours, theirs = pod(pods, "a"), pod(pods, "b")
    client_tls, server_tls = both_tls(short_path)
    migration = f"{VMI}-49152-source.sock"
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        a = enter(source(qemu_binary, PATTERNS, short_path, ram_bytes=RAM_BYTES))
        b = enter(destination(qemu_binary, PATTERNS, short_path, ram_bytes=RAM_BYTES))
        a.wait_ready()
        service = enter(ServiceProcess(*service_arguments(slots)))
        exchange = enter(ExchangeProcess(*exchange_arguments(slots, pods)))
        # virt-handler of the destination's node, then that of the source's
        tcp = socket.create_server(("127.0.0.1", 0))
        far = enter(Proxy(tcp, theirs / migration, near_tls=server_tls))
        enter(unix_listener(ours / f"{VMI}-source.sock"))
        near = enter(Proxy(unix_listener(ours / migration), tcp.getsockname()[1], far_tls=client_tls))
        exchange.wait_for(
            f"{pods}/a/volumes/kubernetes.io~empty-dir/public/migrationproxy/{migration}: through 0.in"
        )
        begin(
            a, b, short_path, f"unix:{ours / migration}", f"unix:{theirs / migration}", parameters=SLOW_LINK
        )
        multifd.let_it_run(a, 1.5)
        finish(a, b)
        (end,) = service.wait_for_ends(1)
        assert (end["error"], end["destination"]) == (None, f"unix:{slots}/0.out")
        assert end["out_bytes"] < end["in_bytes"]
        assert (near.connections, far.connections) == (1, 1)
        assert near.out_bytes == far.out_bytes == end["out_bytes"]
        assert differing_pages(a.dump_ram(), b.dump_ram()) == []
        assert len(exchange.said) == 1


def set_as_qm_does(machine: Machine, parameters: Mapping[str, int]) -> None:
    """Set every capability, and the parameters: PVE/QemuMigrate/Helpers.pm, set_migration_caps."""
    wanted = ("xbzrle", "auto-converge")
    rows = [
        {"capability": each["capability"], "state": each["capability"] in wanted}
        for each in machine.qmp.execute("query-migrate-capabilities")
    ]
    machine.qmp.execute("migrate-set-capabilities", capabilities=rows)
    machine.qmp.command("migrate-set-parameters", dict(parameters))


def test_proxmox_migrates_with_xbzrle_over_its_tunnel(qemu_binary: QemuLike, short_path: Path) -> None:
    """No return path; a speed limit; a downtime limit that qm doubles until the guest converges."""
    near_node, far_node, slots = (short_path / each for each in ("a", "b", "slots"))
    for each in (near_node, far_node, slots):
        each.mkdir()
    (short_path / "100.conf").touch()  # it is on the node that has the guest
    ours, theirs = near_node / "100.migrate", far_node / "100.migrate"
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        a = enter(source(qemu_binary, PATTERNS, short_path, ram_bytes=RAM_BYTES))
        b = enter(destination(qemu_binary, PATTERNS, short_path, ram_bytes=RAM_BYTES))
        a.wait_ready()
        service = enter(ServiceProcess("--pair", f"unix:{slots}/0.in=unix:{slots}/0.out"))
        options = ("--only-if", f"{short_path}/{{}}.conf", "--every", "0.01")
        exchange = enter(ExchangeProcess(str(slots), f"{near_node}/{{}}.migrate", *options))
        b.qmp.execute("migrate-incoming", uri=f"unix:{theirs}")
        set_as_qm_does(b, {})
        tunnel = enter(Proxy(unix_listener(ours), theirs))
        exchange.wait_for(f"{ours}: through 0.in")
        # of 32 MiB a tenth, as a power of two; migrate_speed 3, migrate_downtime 0.001
        limit_ms = 1
        set_as_qm_does(
            a, {"max-bandwidth": 3 << 20, "downtime-limit": limit_ms, "xbzrle-cache-size": 4 << 20}
        )
        a.qmp.migrate(f"unix:{ours}")
        deadline_s = time.monotonic() + 60
        while (info := a.qmp.execute("query-migrate"))["status"] != "completed":
            assert info["status"] in ("setup", "active", "device"), info
            assert time.monotonic() < deadline_s, info
            if info.get("xbzrle-cache", {}).get("bytes", 0) > 20_000:
                limit_ms = min(2 * limit_ms, 10_000)
                a.qmp.command("migrate-set-parameters", {"downtime-limit": limit_ms})
            time.sleep(0.2)
        assert info["xbzrle-cache"]["pages"] > 0, "QEMU sent no delta of its own"
        finish(a, b)
        (end,) = service.wait_for_ends(1)
        assert end["error"] is None
        assert tunnel.out_bytes == end["out_bytes"] < end["in_bytes"]
        assert differing_pages(a.dump_ram(), b.dump_ram()) == []
        b.qmp.execute("cont")
        b.wait_sweeps(b.sweeps() + 1)


@dataclass(frozen=True)
class KnowsHosts:
    """A QEMU with an /etc/hosts of its own."""

    qemu: QemuLike
    hosts: Path

    @property
    def command(self) -> Sequence[str]:
        script = 'mount --bind "$0" /etc/hosts && exec "$@"'
        return ["unshare", "--mount", "--", "sh", "-c", script, str(self.hosts), *self.qemu.command]

    @property
    def env(self) -> Mapping[str, str]:
        return self.qemu.env


@pytest.mark.parametrize("port", [49152, 49215])
def test_a_source_that_names_its_destination_is_redirected(
    qemu_10: QemuLike, short_path: Path, port: int
) -> None:
    """As with Nova: tcp://HOST, a port of libvirt's range, and nothing there that knows of pagethrift."""
    hosts = short_path / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{V4} compute2\n")
    with nat_namespace() as net, contextlib.ExitStack() as stack:
        service = stack.enter_context(net.service())
        a, b = (
            net.thread.call(
                lambda kind=kind: stack.enter_context(  # type: ignore[misc]
                    kind(KnowsHosts(qemu_10, hosts), PATTERNS, short_path, ram_bytes=RAM_BYTES)
                )
            )
            for kind in (source, destination)
        )
        a.wait_ready()
        begin(a, b, short_path, f"tcp:compute2:{port}", f"tcp:{V4}:{port}", parameters=SLOW_LINK)
        multifd.let_it_run(a, 1.5)
        finish(a, b)
        (end,) = service.wait_for_ends(1)
        assert (end["error"], end["destination"]) == (None, f"{V4}:{port}")
        assert end["out_bytes"] < end["in_bytes"]
        assert differing_pages(a.dump_ram(), b.dump_ram()) == []

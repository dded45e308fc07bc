"""contrib/exchange as a process, what the manifest for KubeVirt says, and command lines of services."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock, patch

import typer
import yaml  # type: ignore[import-untyped]

from pagethrift.cli import serve
from pagethrift.service.ways import Way
from tests.documents import ROOT

SCRIPT = ROOT / "contrib/exchange/exchange.py"
MANIFEST = ROOT / "contrib/kubevirt/daemonset.yaml"
INSTALLED = "/usr/share/pagethrift/exchange.py"
SLOTS = "/var/lib/kubelet/pagethrift"
PODS = "/var/lib/kubelet/pods"


class ExchangeProcess:
    """The program with everything that it said."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, line: str, timeout_s: float = 20.0) -> None:
        """Return once it has said this."""
        deadline_s = time.monotonic() + timeout_s
        while line not in self.said:
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise TimeoutError(f"no {line!r}: {self.said}")
            time.sleep(0.01)

    def __enter__(self) -> ExchangeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))


def manifest() -> dict[str, Any]:
    """Return the DaemonSet."""
    (found,) = yaml.safe_load_all(MANIFEST.read_text())
    assert isinstance(found, dict)
    return found


def container(name: str) -> dict[str, Any]:
    """Return one of its containers."""
    pod = manifest()["spec"]["template"]["spec"]
    (found,) = [each for each in [*pod["initContainers"], *pod["containers"]] if each["name"] == name]
    assert isinstance(found, dict)
    return found


def service_arguments(slots: Path) -> list[str]:
    """Return what the manifest's service is told, with its slots elsewhere; ServiceProcess adds the rest."""
    command = container("service")["command"]
    assert command[:4] == ["pagethrift", "relay", "--serve", "--json"]
    return [each.replace("unix:/slots/", f"unix:{slots}/") for each in command[4:]]


def exchange_arguments(slots: Path, pods: Path) -> list[str]:
    """Return what the manifest's exchange is told, with a kubelet's folders elsewhere."""
    command = container("exchange")["command"]
    assert command[:2] == ["python3", INSTALLED]
    return [each.replace(SLOTS, str(slots)).replace(PODS, str(pods)) for each in command[2:]]


def ways_of(words: Sequence[str]) -> list[Way]:
    """Return the ways in of a command line, as the real command reads it; nothing listens."""
    assert words[:3] == ["pagethrift", "relay", "--serve"]
    app = typer.main.get_command(serve.app)
    with patch.object(serve, "Service", return_value=Mock(run=AsyncMock())) as service:
        with app.make_context("serve", [*words[3:]]) as context:
            app.invoke(context)
        found: list[Way] = service.call_args.args[0]
    return found

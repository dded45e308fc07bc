"""What is asked of a migration reaches its driver, whichever command it was given to."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pagethrift.address import parse_address
from pagethrift.cli.common import link_tls, ordered
from pagethrift.errors import UsageError
from pagethrift.live.migrate_options import Order

ASKED = [
    "--strategy", "hu", "--param", "factor=3", "--stop", "total-sent",
    "--downtime-limit", "400ms", "--bandwidth", "80Mbit", "--force-after", "50s",
]  # fmt: skip
DEADLINES = ["--timeout", "2min", "--switchover-deadline", "7s"]


@pytest.mark.parametrize(
    ("module", "driver", "argv"),
    [
        ("migrate", "migrate_live", ["--qmp", "s.qmp", "--to", "b:4444", *DEADLINES]),
        ("libvirt", "migrate_domain", ["migrate", "vm1", "qemu+ssh://b/system", *DEADLINES]),
        ("libvirt", "attach_to_others", ["attach", "--listen", "127.0.0.1:1", "--to", "b:4444"]),
    ],
)
def test_each_option_reaches_the_driver_as_itself(
    module: str, driver: str, argv: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Order] = []

    async def driven(options: Order, *_: object, **__: object) -> None:
        seen.append(options)
        raise UsageError("enough")

    command: Any = import_module(f"pagethrift.cli.{module}")
    monkeypatch.setattr(command, driver, driven)
    done = CliRunner().invoke(command.app, [*argv, *ASKED])
    assert str(done.exception) == "enough"
    (found,) = seen
    assert (found.strategy, found.parameters, found.stop) == ("hu", {"factor": 3.0}, "total-sent")
    assert (found.downtime_limit_s, found.bandwidth_bps, found.force_after_s) == (0.4, 10_000_000, 50.0)
    deadlines = (120.0, 7.0) if "--timeout" in argv else (None, None)
    assert (found.timeout_s, found.switchover_deadline_s) == deadlines


def test_what_is_not_given_is_not_asked_for() -> None:
    assert ordered("hu", None, None, "300ms", None, None) == {
        "strategy": "hu", "parameters": {}, "stop": "", "downtime_limit_s": 0.3, "bandwidth_bps": None,
        "force_after_s": None, "timeout_s": None, "switchover_deadline_s": None,
    }  # fmt: skip


def test_a_name_without_certificates_is_refused(tmp_path: Path) -> None:
    far = parse_address("b:4444")
    assert link_tls(None, far, None) is None
    with pytest.raises(UsageError, match="--tls-hostname is for TLS only; give --tls-dir too"):
        link_tls(None, far, "b")
    with pytest.raises(UsageError, match=str(tmp_path)):
        link_tls(tmp_path, far, None)

"""A forecast of a real QEMU, and a migration that follows it; the guest must not notice the forecast."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pagethrift.model.forecast import Converges, Forecast
from tests.qemu.machines import QemuLike
from tests.qemu.test_record import BUSY, guest

pytestmark = [pytest.mark.slow, pytest.mark.one_qemu]
COMMAND = (sys.executable, "-m", "pagethrift", "forecast", "--bandwidth", "100Mbit")


def test_a_guest_is_forecast_and_stays_as_it_was(qemu_binary: QemuLike, short_path: Path) -> None:
    with guest(qemu_binary, short_path, BUSY) as (machine, _):
        command = [*COMMAND, "--qmp", str(short_path / "record.qmp"), "--seconds", "2", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
        assert "STOP" not in [event.name for event in machine.qmp.events]
    made = Forecast.from_data(json.loads(done.stdout))
    assert made.expires_unix_s > time.time()
    assert 2.0 < made.cost.logged_s < 60.0
    assert made.recommendation.name
    plain = made.mode("plain")
    assert plain is not None
    assert plain.converges is Converges.YES, "64 MiB, of which 2 MiB are written slowly"
    assert plain.total_time_s is not None
    # once over the link what is not zero, at 96 % of its rate
    once_s = made.used_bytes / 12.5e6
    assert once_s < plain.total_time_s.median < 3 * once_s + 2
    for mode in made.modes:
        if mode.total_time_s is not None:
            assert mode.total_time_s.low <= mode.total_time_s.median <= mode.total_time_s.high
    assert "simulating" in done.stderr


@pytest.mark.parametrize(("number", "while_"), [(signal.SIGINT, "watching"), (signal.SIGTERM, "simulating")])
def test_ctrl_c_leaves_guest_and_settings_as_they_were(
    qemu_binary: QemuLike, short_path: Path, number: int, while_: str
) -> None:
    with guest(qemu_binary, short_path, BUSY):
        seconds = "30" if while_ == "watching" else "1"
        process = subprocess.Popen(
            [*COMMAND, "--qmp", str(short_path / "record.qmp"), "--seconds", seconds],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"TMPDIR": str(short_path)},
        )  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if while_ in line:
                break
        process.send_signal(number)
        out, error = process.communicate(timeout=60)
        assert process.returncode == 130
        assert out == ""
        assert error.splitlines()[-1].startswith("pagethrift: interrupted; ")
        assert not list(short_path.glob("pagethrift-forecast-*"))

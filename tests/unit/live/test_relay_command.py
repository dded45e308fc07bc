"""The arguments that a relay's process is started with."""

from __future__ import annotations

from pathlib import Path

from pagethrift.live.relay_process import relay_command
from pagethrift.model.channels import ChannelSettings, Compress


def test_command_line() -> None:
    argv = relay_command("unix:/a", "host:1", "thesis", {"threshold": 0.75}, 12_500_000)
    assert argv[1:5] == ["-m", "pagethrift", "relay", "--listen"]
    assert argv[argv.index("--param") + 1] == "threshold=0.75"
    assert argv[argv.index("--bandwidth") + 1] == "12500000B/s"
    assert argv[-1] == "--json"
    limited = relay_command("unix:/a", "host:1", "hu", {}, None, 0.25)
    assert limited[limited.index("--downtime-limit") + 1] == "0.250000000s"
    assert "--bandwidth" not in limited
    assert "--tls-dir" not in limited
    encrypted = relay_command("unix:/a", "unix:/b", "hu", {}, None, None, None, Path("/etc/pki"), "host2")
    assert "--channels" not in encrypted
    over = ChannelSettings(3, bytes(range(16)), Compress.ON, window_log=20)
    channels = relay_command("unix:/a", "unix:/b", "pagethrift", {}, None, None, over)
    assert channels[-9:] == [
        "--channels", "3", "--guest-uuid", "00010203-0405-0607-0809-0a0b0c0d0e0f",
        "--compress", "on", "--window", "1048576B", "--json",
    ]  # fmt: skip
    assert encrypted[-5:] == ["--tls-dir", "/etc/pki", "--tls-hostname", "host2", "--json"]

"""The doctor reports what it finds and never raises."""

import os
import tempfile
from pathlib import Path

import pytest

from pagethrift.lab import doctor
from pagethrift.lab.doctor import CheckStatus


def test_options_are_never_missing_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    checks = {check.name: check for check in doctor.examine_options()}
    assert checks.keys() == {"SSH tunnel", "TLS tunnel", "shared disk"}
    assert all(check.status is not CheckStatus.MISSING for check in checks.values())
    monkeypatch.setattr("pagethrift.lab.link.tunnels.shutil.which", lambda name, path=None: None)
    without = {check.name: check for check in doctor.examine_options()}
    assert "openssh-server" in without["SSH tunnel"].detail
    assert "link.security = tls" in without["TLS tunnel"].remedy
    assert not list(tmp_path.iterdir())


def test_nothing_of_the_scratch_namespace_stays() -> None:
    doctor.examine_network()
    left = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
    assert not [name for name in left if name.startswith(f"pt-{os.getpid()}-") and name.endswith("doctor")]


def test_without_programs_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagethrift.lab.doctor.shutil.which", lambda name, path=None: None)
    by_name = {check.name: check for check in doctor.examine()}
    assert by_name["network tools"].status is CheckStatus.MISSING
    assert by_name["memcached"].status is CheckStatus.MISSING
    assert "memcached" in by_name["memcached"].remedy

"""The recipe for virsh and the page on libvirt, typed as they stand between two clean Debian 12."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pagethrift.lab.guest.cache import cache_dir
from tests.documents import ROOT
from tests.newcomer.hosts import missing
from tests.newcomer.how_to import Step, follow

pytestmark = [
    pytest.mark.long,
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(os.geteuid() != 0, reason="TWO CLEAN DEBIANS NOT TRIED: needs root"),
    pytest.mark.skipif(bool(missing()), reason=f"TWO CLEAN DEBIANS NOT TRIED: {missing()}"),
]
STEPS = (
    "install", "A migration URI", "migration_host", "A nat rule", "Keep the downtime limit",
    "pagethrift libvirt migrate", "pagethrift-relay@vm1",
)  # fmt: skip


def test_each_way_leads_a_guest_from_a_clean_debian_to_another(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "scripts.deb", "--out", tmp_path], cwd=ROOT, check=True)
    (package,) = tmp_path.glob("*.deb")
    folder = cache_dir() / "newcomer"
    folder.mkdir(exist_ok=True)
    steps: list[Step] = []
    found = follow(folder, package, steps.append)
    assert tuple(step["step"] for step in steps) == STEPS
    for step in found[1:-1]:
        assert all(step.get(each, "-") for each in ("out", "took", "downtime")), step

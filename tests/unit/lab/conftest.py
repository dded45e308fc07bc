"""What the lab's tests need of the machine; a test that cannot run says why."""

import shutil

import pytest

from pagethrift.errors import LabError
from pagethrift.lab import doctor
from pagethrift.lab.doctor import CheckStatus
from pagethrift.lab.guest import packages


@pytest.fixture(scope="session")
def lab_network() -> None:
    """Skip unless namespaces, taps and shaping work here, found out without the code under test."""
    lacking = [check for check in doctor.examine_network() if check.status is CheckStatus.MISSING]
    if lacking:
        pytest.skip("; ".join(f"{check.name}: {check.detail} ({check.remedy})" for check in lacking))


@pytest.fixture(scope="session")
def lab_guest(lab_network: None) -> None:
    """Skip unless the guest image can be built, too."""
    lacking = [name for name in ("memcached", "busybox", "cpio", "setpriv") if shutil.which(name) is None]
    if lacking:
        pytest.skip(f"no {', '.join(lacking)} here; run scripts/setup-system.sh as root")
    try:
        packages.kernel()
    except LabError as error:
        pytest.skip(f"no guest kernel: {error}")

"""The doctor examines this machine, its QEMUs and KVM among the rest."""

from __future__ import annotations

from pagethrift.lab import doctor
from pagethrift.lab.doctor import CheckStatus


def test_every_check_that_is_not_ok_has_a_remedy() -> None:
    checks = doctor.examine()
    assert len({check.name for check in checks}) == len(checks)
    assert {"root", "KVM", "QEMU 7.2", "QEMU 10.0", "cores", "memory", "disk"} <= {c.name for c in checks}
    for check in checks:
        assert check.detail
        assert bool(check.remedy) == (check.status is not CheckStatus.OK)

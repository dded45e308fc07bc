"""The table of stop rules that can replace any row's own: ``strategy(name, stop=...)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from pagethrift.strategies import kvm_auto_converge, kvm_post_copy
from pagethrift.strategies.base import Status, StopRule
from pagethrift.strategies.cloudnet import SmartStop
from pagethrift.strategies.stop.kubevirt import KubeVirtStall
from pagethrift.strategies.stop.ladders import CloudHypervisor, Nova, OVirt, Ramp
from pagethrift.strategies.stop.rules import DowntimePredicted, PendingFits, RetransferShare
from pagethrift.strategies.tpo import FewLeft
from pagethrift.strategies.xen import XenRule
from pagethrift.strategies.xen_libxl import LibxlPolicy


@dataclass(frozen=True, slots=True)
class StopRow:
    """One stop rule, its origin, and how to make it; each migration needs its own."""

    summary: str
    source: str
    status: Status
    make: Callable[..., StopRule]
    refuses_live: str = ""

    @property
    def parameters(self) -> dict[str, float]:
        """Return the parameters ``make`` takes, with their defaults."""
        return {name: found.default for name, found in inspect.signature(self.make).parameters.items()}


_OURS, _EXACT, _OTHER = Status.OURS, Status.EXACT, Status.RECONSTRUCTED

STOPS: dict[str, StopRow] = {
    "qemu": StopRow("pending bytes below bandwidth x downtime limit", "QEMU", _EXACT, PendingFits),
    "predicted": StopRow("predicted downtime fits the limit", "this project", _OURS, DowntimePredicted),
    "retransfer-share": StopRow(
        "75 % of the first round sent again", "Jain, NCI 2021", _EXACT, RetransferShare
    ),
    "xen": StopRow("29 rounds, 50 pages, 3 x RAM, or a round that grew", "xc_domain_save", _EXACT, XenRule),
    "xen-libxl": StopRow("5 rounds or 50 pages", "libxl_dom_save.c", _EXACT, LibxlPolicy),
    "tpo": StopRow("10 rounds or 50 infrequent pages", "Sharma and Chawla, 2016", _OTHER, FewLeft),
    "smart-stop": StopRow(
        "a minimum once rounds cease to shrink", "Wood et al., VEE 2011", _OTHER, SmartStop
    ),
    "nova": StopRow("ten steps to 500 ms, 75 s x GiB apart", "OpenStack Nova", _EXACT, Nova),
    "ovirt": StopRow("100 to 500 ms, a step each stalled round", "oVirt, Minimal downtime", _EXACT, OVirt),
    "kubevirt": StopRow(
        "stalled for 40 s: accept the best backlog, relaxing", "KubeVirt", _EXACT, KubeVirtStall
    ),
    "ramp": StopRow("150 ms, then seven steps up to the limit", "operators' practice", _OTHER, Ramp),
    "cloud-hypervisor": StopRow(
        "a round's backlog fits 300 ms, or a time limit", "Cloud Hypervisor", _EXACT, CloudHypervisor
    ),
    "auto-converge": StopRow(
        "QEMU's rule, and throttle the guest", "QEMU", _EXACT,
        kvm_auto_converge.AutoConverge, kvm_auto_converge.REFUSAL,
    ),
    "post-copy": StopRow(
        "move the guest at once", "QEMU", _EXACT, kvm_post_copy.PostCopyAt, kvm_post_copy.REFUSAL
    ),
}  # fmt: skip

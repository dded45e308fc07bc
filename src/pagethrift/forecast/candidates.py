"""The modes that a forecast simulates, each with what ``pagethrift migrate`` needs to run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pagethrift.forecast.measured import Family
from pagethrift.live.migrate_options import PlainFeatures
from pagethrift.model.channels import CHANNELS, Compress
from pagethrift.model.forecast import Setting
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.strategies.base import Strategy
from pagethrift.strategies.table import DEFAULT, TABLE, strategy

MANY, SOME, FEW = 24, 8, 4
"""simulated migrations of a mode: the likely choices get more"""
HOLD_SHARES = (0.0, 0.5)
"""budgets of held pages that are tried beside the default, as shares of the downtime limit"""
NOT_SIMULATED = ("multifd, multifd-zstd: the simulator has no model of QEMU's own channels",)
_UNCAPPED = PlainFeatures(max_bandwidth_bps=0)
_PARALLEL = "--parallel"
_PLAIN = "--plain --max-bandwidth 0"
"""QEMU's own limit, 128 MiB/s unless it was changed, is no matter of a mode: for a relay it is lifted too"""
_SMALLEST_CACHE_MIB, _LARGEST_CACHE_MIB = 64, 4096
_CACHE_SHARE = 1.5
"""XBZRLE's cache is direct-mapped: pages that share a slot throw each other out"""

_THROTTLES = "throttles the guest, and the simulator agreed with live runs in half of the cases only"
_VIRSH = "this is virsh migrate alone, which nothing here steers"
_TWICE = "QEMU at the source compresses too, which is not simulated and takes its processors"
_SPLITS = "a link that breaks during post-copy takes the guest with it, and every page is waited for"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One mode."""

    name: str
    row: str
    """of the strategy table, by which it is simulated"""
    family: Family
    options: str = ""
    """of ``pagethrift migrate``"""
    parameters: Mapping[str, float] = field(default_factory=dict)
    """of the row, for the simulation"""
    compress: Compress = Compress.AUTO
    features: PlainFeatures | None = None
    """QEMU's own; None: through the relay"""
    draws: int = FEW
    caution: str = ""
    """why it is never recommended by itself"""
    drawn: bool = False
    """stands in the plot"""

    @property
    def plain(self) -> bool:
        """Whether it migrates without the relay."""
        return self.features is not None

    def made(self) -> Strategy:
        """Return the strategy for one simulated migration."""
        return strategy(self.row, "", **self.parameters)

    @property
    def channels(self) -> int:
        """Compressed channels of its migration."""
        return CHANNELS if self.compress is not Compress.OFF and self.made().compresses else 0

    @property
    def result_parameters(self) -> Mapping[str, Setting]:
        """The parameters as a result will have them."""
        return {} if self.plain else dict(self.made().parameters)

    @property
    def result_features(self) -> Mapping[str, Setting]:
        """QEMU's features as a result will have them."""
        return {} if self.features is None else self.features.as_features()


def candidates(
    written_pages: int, channels: bool = True, relayed: bool = False, libvirt: bool = False
) -> list[Candidate]:
    """Return every mode that can be simulated and run live, the likely choices first.

    ``written_pages``: pages that the guest writes, for the size of XBZRLE's cache. ``channels``: whether the
    destination can take compressed channels. ``relayed``: leave out what migrates without the relay.
    ``libvirt``: with the options of ``pagethrift libvirt migrate``.
    """
    cache_mib = _cache_mib(written_pages)
    found = [Candidate(DEFAULT, DEFAULT, Family.CHANNELS, draws=MANY, drawn=True)] if channels else []
    found += [
        Candidate(
            f"{DEFAULT}, plain pages", DEFAULT, Family.THIN, "--compress off", compress=Compress.OFF,
            draws=SOME if channels else MANY, drawn=True,
        ),
        Candidate(
            "plain", "kvm-default", Family.PLAIN, _PLAIN, features=_UNCAPPED, draws=MANY, drawn=True
        ),
        Candidate(
            f"xbzrle:{cache_mib}MiB", "kvm-xbzrle", Family.XBZRLE, f"{_PLAIN} --xbzrle-cache {cache_mib}MiB",
            {"cache_mib": cache_mib}, features=replace(_UNCAPPED, xbzrle_cache_bytes=cache_mib << 20),
            draws=SOME, drawn=True,
        ),
        Candidate(
            "auto-converge", "kvm-auto-converge", Family.AUTO_CONVERGE, f"{_PLAIN} --auto-converge",
            features=replace(_UNCAPPED, auto_converge=True), caution=_THROTTLES, drawn=True,
        ),
        Candidate(
            "post-copy", "kvm-post-copy", Family.POST_COPY, f"{_PLAIN} --post-copy",
            {"from_round": PlainFeatures().post_copy_round}, features=replace(_UNCAPPED, post_copy=True),
            caution=_SPLITS, drawn=True,
        ),
    ]  # fmt: skip
    family, extra = (Family.CHANNELS, "") if channels else (Family.THIN, " --compress off")
    found += [
        Candidate(
            f"{DEFAULT}, hold {share:.0%}", DEFAULT, family, f"--param hold_share={share:g}{extra}",
            {"hold_share": share}, Compress.AUTO if channels else Compress.OFF,
        )
        for share in HOLD_SHARES
    ]  # fmt: skip
    for name, make in TABLE.items():
        row = make()
        if name != DEFAULT and not row.refuses_live and not row.qemu_decides:
            found.append(Candidate(name, name, Family.RELAY, f"--strategy {name}", compress=Compress.OFF))
    if libvirt:
        found = list(map(_under_libvirt, found))
    return [each for each in found if not (relayed and each.plain)]


def _under_libvirt(candidate: Candidate) -> Candidate:
    """Return a mode as libvirt has it: without --parallel pages travel plain."""
    if candidate.plain:
        return replace(candidate, options="", caution=candidate.caution or _VIRSH)
    words = candidate.options.replace("--compress off", "").split()
    if not candidate.channels:
        return replace(candidate, options=" ".join(words))
    return replace(candidate, options=" ".join((*words, _PARALLEL)), caution=_TWICE)


def _cache_mib(written_pages: int) -> int:
    """Return a cache for the pages that are written, a power of two of MiB."""
    wanted = written_pages * PAGE_BYTES * _CACHE_SHARE / (1 << 20)
    size = _SMALLEST_CACHE_MIB
    while size < min(wanted, _LARGEST_CACHE_MIB):
        size *= 2
    return size

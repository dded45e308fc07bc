"""Wang et al., IJPP 2017: leave out the pages that the guest does not need.

Pages that the guest's kernel calls free are never sent; clean page-cache pages are dropped. The idea is
exact; how the guest tells us is ours. A dropped free page is safe only if the guest writes it before
reading it, a dropped cache page only if the guest forgets it: both need the guest's consent.

Live, with the guest's consent; the relay forwards what QEMU sends. ``consent`` = 1 says that one of
these two was prepared:
1. a virtio-balloon device with `free-page-hint=on` and an iothread: QEMU leaves out the free pages;
2. in the guest, before the migration: `echo 3 > /proc/sys/vm/drop_caches`, with `init_on_free=1` on
   its kernel command line, so that free pages are zero and travel as 9 bytes.
Simulated: pages that were free or cache at the time of the guest's report (/proc/kpageflags, in the
trace) are left out until the guest writes to them. Live, number 1 comes close: QEMU asks again in every
round, but not for cache; the trace knows one moment. A relay alone cannot do this: no stream says which
pages the guest will not read again.
"""

from __future__ import annotations

from pagethrift.model.facts import PageClass
from pagethrift.model.methods import Allow
from pagethrift.strategies.base import AlwaysAllow, HoldNothing, Signing, Simulated, Status, Strategy
from pagethrift.strategies.stop.rules import PendingFits

REFUSAL = (
    "strategy wang needs the guest's consent: give it a virtio-balloon with free-page-hint=on, or let it"
    " drop its caches and zero free memory (init_on_free=1); after that add --param consent=1"
)


def wang(consent: float = 0) -> Strategy:
    """Return the row; ``consent`` = 1: the guest was prepared as the module's docstring says (1 or 2)."""
    return Strategy(
        name="wang",
        summary="leave out free pages and the page cache",
        source="Wang et al., IJPP 2017",
        status=Status.EXACT,
        signing=Signing.NOTHING,
        hold=HoldNothing(),
        encode=AlwaysAllow(Allow.NOTHING),
        stop=PendingFits(),
        qemu_decides=True,
        parameters={"consent": consent},
        refuses_live="" if consent else REFUSAL,
        live="QEMU or the guest leaves the pages out, the relay forwards what comes",
        simulated=Simulated(leaves_out=frozenset({PageClass.FREE, PageClass.CACHE})),
    )

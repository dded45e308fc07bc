"""Wang et al., IJPP 2017: leave out the pages the guest has no use for.

Pages the guest's kernel calls free are never sent, clean page-cache pages are dropped. The idea is
exact; how the guest tells is ours. A dropped free page is safe only if the guest writes it before
it reads it, a dropped cache page only if the guest forgets it: both need the guest's consent.

Live, with consent (``consent`` = 1 says that it was given, in one of these ways; the relay then
forwards what QEMU sends):
1. a virtio-balloon device with `free-page-hint=on` and an iothread: QEMU leaves out the free pages;
2. in the guest, before the migration: `echo 3 > /proc/sys/vm/drop_caches`, with `init_on_free=1` on
   its kernel command line, so that free pages are zero and travel as 9 bytes.
Simulated: pages that were free or cache when the guest told (/proc/kpageflags, in the trace), until it
writes to them. Of the live ways 1 comes close: QEMU asks again in every round, we know one moment and
no cache. A relay on its own cannot do it: no stream says what the guest will not read again.
"""

from __future__ import annotations

from pagethrift.model.facts import PageClass
from pagethrift.model.methods import Allow
from pagethrift.strategies.base import AlwaysAllow, HoldNothing, Signing, Simulated, Status, Strategy
from pagethrift.strategies.stop.rules import PendingFits

REFUSAL = (
    "strategy wang needs the guest's consent: give it a virtio-balloon with free-page-hint=on, or let it"
    " drop its caches and zero free memory (init_on_free=1), then add --param consent=1"
)


def wang(consent: float = 0) -> Strategy:
    """Return the row; ``consent`` = 1: the guest was prepared as the module's docstring says."""
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

"""Which signer a strategy's ledger needs."""

from __future__ import annotations

from pagethrift.content.signature import Sha256Signer, SubpageSigner
from pagethrift.strategies.base import Signing


def signer_for(signing: Signing, secret: bytes) -> SubpageSigner | Sha256Signer | None:
    """Return the signer, or None if the ledger only keeps which pages were sent.

    ``secret``: at least 32 random bytes, new for each migration. Raises ValueError for a shorter one.
    """
    match signing:
        case Signing.NOTHING:
            return None
        case Signing.SUBPAGES:
            if len(secret) < 32:
                raise ValueError("the signature secret needs at least 32 bytes")
            return SubpageSigner.from_secret(secret)
        case Signing.SHA256:
            return Sha256Signer.make()

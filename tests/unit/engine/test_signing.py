"""A ledger's signer: by what the strategy asks for, and never of a short secret."""

from __future__ import annotations

import pytest

from pagethrift.content.signature import Sha256Signer, SubpageSigner
from pagethrift.engine.signing import signer_for
from pagethrift.strategies.base import Signing

SECRET = bytes(range(32))


def test_each_signing_has_its_signer() -> None:
    assert signer_for(Signing.NOTHING, SECRET) is None
    assert isinstance(signer_for(Signing.SUBPAGES, SECRET), SubpageSigner)
    assert isinstance(signer_for(Signing.SHA256, SECRET), Sha256Signer)


def test_only_subpages_need_a_secret_and_a_long_one() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        signer_for(Signing.SUBPAGES, SECRET[:31])
    assert signer_for(Signing.NOTHING, b"") is None
    assert signer_for(Signing.SHA256, b"") is not None

"""What pages hold: keyed signatures, digests and the ledger of the destination."""

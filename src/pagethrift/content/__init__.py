"""Floor 1: the contents of pages: keyed signatures, digests and the ledger of the destination."""

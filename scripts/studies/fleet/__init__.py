"""A fleet whose hosts are emptied: what it takes, with and without thinning (docs/fleet.md)."""

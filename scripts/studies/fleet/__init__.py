"""A fleet whose hosts are emptied one after the other: what it takes, with and without thinning (docs/fleet.md)."""

"""Floor 4: the live relay and the migration that uses it."""

"""Hostile input: what parses bytes of others is fuzzed, guided by coverage (docs/fuzzing.md)."""

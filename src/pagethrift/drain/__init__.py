"""Carrying an evacuation out: migrations as processes of their own, some at a time, until the host is
empty."""

"""Migrations of recorded guests over virtual links, with the relay's own strategies and planner."""

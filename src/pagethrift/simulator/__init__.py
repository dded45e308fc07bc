"""Floor 4: migrations of recorded guests over virtual links, with the relay's own strategies and planner."""

"""Floor 5: migrations of recorded guests over virtual links, with the relay's strategies and planner."""

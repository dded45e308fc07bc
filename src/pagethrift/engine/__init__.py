"""Floor 3: the thinner (bytes in, bytes out) and the planner (facts in, decisions out)."""

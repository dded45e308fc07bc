"""The thinner (bytes in, bytes out) and the planner (facts in, decisions out)."""

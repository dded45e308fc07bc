"""Scalar simulators, how wrong are they? CloudSim and SimGrid against live migrations, beside ours."""

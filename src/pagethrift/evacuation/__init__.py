"""Emptying a host: the plan, and what each order of leaving would take, without I/O and without a clock."""

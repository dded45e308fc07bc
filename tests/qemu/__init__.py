"""Tests on real QEMU processes with a tiny bare-metal guest: seconds, no operating system."""

"""Migrations between two real libvirt daemons on this machine."""

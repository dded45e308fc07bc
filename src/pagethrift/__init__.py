"""Thin QEMU live migrations: never send a byte the destination already holds."""

__version__ = "0.1.0"

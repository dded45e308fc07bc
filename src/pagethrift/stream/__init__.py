"""QEMU's migration stream, bytes in and bytes out, without I/O."""

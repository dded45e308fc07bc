"""The data path as a process: QEMU's sockets on one side, the link on the other."""

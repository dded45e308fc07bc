"""The lab's guests: programs, image, QEMU, disk, and queries to a running guest."""

"""The lab's guests: programs, image, QEMU, disk, and what is asked of a running one."""

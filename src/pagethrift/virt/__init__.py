"""The driver of migrations under libvirt, by libvirt's own API: no monitor command, so no taint."""

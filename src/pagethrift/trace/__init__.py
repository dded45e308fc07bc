"""Floor 4: dirtying traces and logs of decisions as files, without a byte of guest content."""

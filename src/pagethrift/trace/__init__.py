"""Between floors 3 and 4: dirtying traces and logs of decisions as files, without a byte of guest content."""

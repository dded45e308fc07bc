"""A file for each parser; the runner finds them by their file name."""

"""The driver of one whole migration, and the recorder of traces."""

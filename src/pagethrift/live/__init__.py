"""Floor 5: the driver of one whole migration, and the recorder of traces."""

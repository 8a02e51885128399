"""Which batch sizes to capture graphs for."""

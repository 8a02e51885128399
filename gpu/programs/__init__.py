"""Programs of bare launches on torch: their ops made ready beforehand, so that a launch is one call."""

"""Hand-written kernels, each with a torch reference that it is tested against."""

"""A textbook chapter on scheduling overhead, CUDA graphs and overlap, claim by claim."""

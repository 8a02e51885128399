"""Runs scenarios on real hardware, and measures the constants that the simulator predicts with."""

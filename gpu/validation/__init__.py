"""Measures the cases of a suite on real hardware, beside their predictions."""

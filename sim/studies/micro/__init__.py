"""Micro-benchmarks of a device and its driver as programs of effects, and the model held against measured ones."""

"""The reference machine: a SimPy model of host threads and device streams, at the grain of single launches."""

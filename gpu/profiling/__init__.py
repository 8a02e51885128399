"""Spans of the device and of the runtime's calls, from a process that runs a scenario under torch's profiler."""

"""Executes a server's batches on torch: inputs, streams, graphs and the FutureMap's buffer."""

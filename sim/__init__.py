"""Predicts. Imports ``scenarios`` and never torch; the command line starts without loading what it does not use."""

"""What is run: schemas of scenario, model, engine and hardware files, their loader, and the files we ship.

Imports nothing of the other packages. This module imports nothing at all, so that a command line starts
at once; `scenarios.loader` brings pydantic in.
"""

"""Machines whose time is the wall clock: they interpret the effects that the simulator interprets."""

"""Measuring one GPU and its host, and fitting a hardware profile to what was measured."""

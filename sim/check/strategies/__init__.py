"""Hypothesis strategies, to be composed: programs and machines, requests, worlds of a server. Needs hypothesis."""

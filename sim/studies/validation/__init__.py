"""Predictions beside measurements: cases, their scores, and where two timelines part. Needs no GPU."""

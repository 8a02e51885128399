"""Questions asked of the machines: one run in all its modes, why it gains, and where the gain ends."""

"""Training steps for real: eager, and captured in part or whole."""

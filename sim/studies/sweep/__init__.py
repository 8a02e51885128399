"""Many points of one scenario: which, where they run, what they found, and whether the reference agrees."""

"""The verbs of the command line, one module each.

A verb's module has ``add``, which gives the parser its options and imports nothing heavy, and a function that does the
work and returns an exit code; what that function needs it imports itself, so that ``overlapsim --help`` is instant.
"""

DONE, NO, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

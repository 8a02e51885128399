"""What a step's rows are, as one integer table: the only input that travels from host to device."""

from __future__ import annotations

TOKEN, POSITION, SLOT, LENGTH, TABLE = range(5)
"""Columns of the table, int32 [rows, TABLE + pages]: the token (negative: a FutureMap slot), its position, the cache
slot its key and value go to, the context length with it, and from TABLE on the pages of the row's cache."""
PAGE = 16
"""Tokens of one cache page."""
SCRATCH = 0
"""The page that padding rows write to and read from; no request owns it."""

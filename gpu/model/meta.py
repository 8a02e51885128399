"""What a step's rows are, as one integer table: the only input that travels from host to device.

In decode a row is a request, int32 [rows, TABLE + pages]; in prefill it is a prompt's token, int32 [tokens, TABLE], and
behind the rows stand three lists, one number a prompt: where prompts start (and the last one ends), their last rows,
and the FutureMap slots that their first tokens go to.
"""

from __future__ import annotations

TOKEN, POSITION, SLOT, LENGTH, FUTURE, TABLE = range(6)
"""Columns: the token (negative: a FutureMap slot), its position, the cache slot its key and value go to, the context
length with it, the FutureMap slot that its successor goes to, and from TABLE on the pages of the row's cache."""
PAGE = 16
"""Tokens of one cache page."""
SCRATCH = 0
"""The page that padding rows write to and read from; no request owns it."""

"""Paged KV cache: which blocks belong to whom. Contents live on the device."""

from __future__ import annotations

from sim.serving.request import Request


class KVCache:
    """Blocks of ``block_tokens`` tokens, handed out whole and returned whole.

    Who reserves how many, and when, is the scheduler's business: all that a request can ever need, or one by one as its
    context grows. Nothing is shared between requests; ``PrefixCache`` does that.
    """

    def __init__(self, num_blocks: int, block_tokens: int = 16) -> None:
        if num_blocks < 1 or block_tokens < 1:
            raise ValueError(
                f"a KV cache needs blocks, and tokens a block, of at least 1, got {num_blocks} and {block_tokens}"
            )
        self.num_blocks = num_blocks
        self.block_tokens = block_tokens
        self._returned: list[int] = []
        self._untouched = 0  # blocks from here on have never been handed out, and are not listed
        self._tables: dict[int, list[int]] = {}

    @property
    def num_free(self) -> int:
        """Blocks that nobody holds."""
        return len(self._returned) + self.num_blocks - self._untouched

    @property
    def num_used(self) -> int:
        """Blocks that somebody holds."""
        return self.num_blocks - self.num_free

    def blocks_for(self, tokens: int) -> int:
        """Blocks that ``tokens`` tokens need."""
        return -(-tokens // self.block_tokens)

    def cached(self, request: Request, prompt: int) -> int:
        """Tokens of a request's prompt that need not be computed: none."""
        del request, prompt
        return 0

    def needed(self, request: Request, prompt: int, tokens: int) -> int:
        """Blocks fewer that will be free when a request has got those for so many tokens."""
        del request, prompt
        return self.blocks_for(tokens)

    def hold(self, request: Request, prompt: int) -> int:
        """Before its blocks are allocated, keep what a prompt shares with others; returns its tokens: none."""
        del request, prompt
        return 0

    def computed(self, request: Request, done: int) -> None:
        """So many tokens of a request's prompt have been computed, which is nobody else's business."""

    def allocate(self, request: int, tokens: int) -> list[int]:
        """Reserve blocks for a request and return its block table.

        Raises ``ValueError`` when the request already holds blocks or more are ``needed`` than ``num_free``.
        """
        return self._allot(request, [], self.blocks_for(tokens))

    def grow(self, request: int) -> None:
        """Hand one more block to a request; ``ValueError`` when none is free, ``KeyError`` when it holds none yet."""
        table = self._tables.pop(request)
        try:
            self._allot(request, table, 1)
        except ValueError:
            self._tables[request] = table
            raise

    def table(self, request: int) -> list[int]:
        """The blocks of a request, in the order of its tokens."""
        return self._tables[request]

    def free(self, request: int) -> None:
        """Return a request's blocks; ``KeyError`` when it holds none."""
        self._returned.extend(reversed(self._tables.pop(request)))

    def _allot(self, request: int, table: list[int], count: int) -> list[int]:
        """Give a request this table and so many blocks behind it."""
        reused = min(count, len(self._returned))
        fresh = count - reused
        if request in self._tables:
            raise ValueError(f"request {request} already holds blocks")
        if fresh > self.num_blocks - self._untouched:
            raise ValueError(f"request {request} needs {count} blocks, {self.num_free} are free")
        if reused:
            table += self._returned[: -reused - 1 : -1]
            del self._returned[-reused:]
        table += range(self._untouched, self._untouched + fresh)
        self._untouched += fresh
        self._tables[request] = table
        return table

"""Paged KV cache: which blocks belong to whom. Contents live on the device."""

from __future__ import annotations


class KVCache:
    """Blocks of ``block_tokens`` tokens, handed out whole and returned whole.

    Who reserves how many, and when, is the scheduler's business: all that a request can ever need, or one by one as its
    context grows.
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

    def blocks_for(self, tokens: int) -> int:
        """Blocks that ``tokens`` tokens need."""
        return -(-tokens // self.block_tokens)

    def can_allocate(self, tokens: int) -> bool:
        """Whether ``tokens`` tokens fit into what is free."""
        return self.blocks_for(tokens) <= self.num_free

    def allocate(self, request: int, tokens: int) -> list[int]:
        """Reserve blocks for a request and return its block table.

        Raises ``ValueError`` when the request already holds blocks or there are too few: the caller must ask
        ``can_allocate`` first.
        """
        count = self.blocks_for(tokens)
        if request in self._tables:
            raise ValueError(f"request {request} already holds blocks")
        if count > self.num_free:
            raise ValueError(f"request {request} needs {count} blocks, {self.num_free} are free")
        kept = max(0, len(self._returned) - count)
        table = self._returned[kept:]
        table.reverse()
        del self._returned[kept:]
        fresh = count - len(table)
        table += range(self._untouched, self._untouched + fresh)
        self._untouched += fresh
        self._tables[request] = table
        return table

    def grow(self, request: int) -> None:
        """Hand one more block to a request; ``ValueError`` when none is free, ``KeyError`` when it holds none yet."""
        if not self.num_free:
            raise ValueError(f"request {request} needs a block, 0 are free")
        self._tables[request].append(self._take())

    def _take(self) -> int:
        if self._returned:
            return self._returned.pop()
        self._untouched += 1
        return self._untouched - 1

    def table(self, request: int) -> list[int]:
        """The blocks of a request, in the order of its tokens."""
        return self._tables[request]

    def free(self, request: int) -> None:
        """Return a request's blocks; ``KeyError`` when it holds none."""
        self._returned.extend(reversed(self._tables.pop(request)))

"""A paged KV cache whose blocks outlive their requests, so that prompts that begin alike are computed once."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush

from sim.serving.kv_cache import KVCache
from sim.serving.request import HASH_TOKENS, Request


@dataclass(eq=False, slots=True)
class _Node:
    """So many tokens of a prompt behind those of its parents, and the blocks that hold them.

    ``users`` are requests whose tables go through it, ``used`` numbers the last of them that ended.
    """

    parent: _Node | None
    key: int
    blocks: list[int]
    children: dict[int, _Node] = field(default_factory=dict)
    users: int = 0
    used: int = 0


class PrefixCache(KVCache):
    """A radix tree over the hashes of prompts, each of ``HASH_TOKENS`` tokens, that owns the blocks of what it knows.

    A prompt's tokens enter the tree with the step that computes them, and later requests that begin alike share the
    blocks; at least one token of a prompt is always computed. Blocks that no request uses stay until others need them:
    then those unused for longest go, ends of branches first. Sharing counts whole hashes only, and not what a request
    was answered, of which a trace has no hashes. Requests that were computed elsewhere share nothing.
    """

    def __init__(self, num_blocks: int, block_tokens: int = 16) -> None:
        super().__init__(num_blocks, block_tokens)
        if HASH_TOKENS % block_tokens:
            raise ValueError(
                f"a hash of {HASH_TOKENS} tokens must be whole blocks, got blocks of {block_tokens} tokens"
            )
        self._blocks_a_hash = HASH_TOKENS // block_tokens
        self._root = _Node(None, 0, [])
        self._paths: dict[int, list[_Node]] = {}
        self._num_unused = 0
        self._unused: list[tuple[int, int, _Node]] = []
        self._tick = 0
        self._version = 0
        self._matched: dict[int, tuple[int, int, list[_Node]]] = {}

    @property
    def num_free(self) -> int:
        """Blocks that no request uses, those that the tree keeps included."""
        return super().num_free + self._num_unused

    def cached(self, request: Request, prompt: int) -> int:
        """Tokens of a request's prompt that others have computed."""
        return len(self._match(request, prompt)) * HASH_TOKENS

    def needed(self, request: Request, prompt: int, tokens: int) -> int:
        """Blocks fewer that will be free when a request has got those for so many tokens."""
        shared = sum(node.users > 0 for node in self._match(request, prompt))
        return self.blocks_for(tokens) - shared * self._blocks_a_hash

    def hold(self, request: Request, prompt: int) -> int:
        """Keep what a request's prompt begins with from being given away; returns its tokens."""
        path = self._paths[request.id] = list(self._match(request, prompt))
        self._matched.pop(request.id, None)
        for node in path:
            self._use(node)
        return len(path) * HASH_TOKENS

    def allocate(self, request: int, tokens: int) -> list[int]:
        """See ``KVCache``: what is held is shared, the rest taken from what is free, or from the tree."""
        shared = [block for node in self._paths.setdefault(request, []) for block in node.blocks]
        self._make_room(self.blocks_for(tokens) - len(shared))
        return self._allot(request, shared, self.blocks_for(tokens) - len(shared))

    def grow(self, request: int) -> None:
        """See ``KVCache``."""
        self._make_room(1)
        super().grow(request)

    def computed(self, request: Request, done: int) -> None:
        """So many tokens of a prompt have been computed: its whole hashes belong to the tree from now on."""
        if request.computed:
            return
        path, table, width = self._paths[request.id], self.table(request.id), self._blocks_a_hash
        whole = min(done, request.context) // HASH_TOKENS
        for at in range(len(path), min(whole, len(request.hashes))):
            parent = path[-1] if path else self._root
            node = parent.children.get(request.hashes[at])
            if node is None:
                node = _Node(parent, request.hashes[at], table[at * width : (at + 1) * width], users=1)
                parent.children[node.key] = node
                self._version += 1
            else:  # another request has computed the same meanwhile: its blocks are read instead
                self._returned.extend(reversed(table[at * width : (at + 1) * width]))
                table[at * width : (at + 1) * width] = node.blocks
                self._use(node)
            path.append(node)

    def free(self, request: int) -> None:
        """Return a request's own blocks, and leave those of the tree to it."""
        path, table, width = self._paths.pop(request), self._tables.pop(request), self._blocks_a_hash
        self._returned.extend(reversed(table[len(path) * width :]))
        self._tick += 1
        for node in reversed(path):
            node.users -= 1
            if not node.users:
                node.used = self._tick
                self._num_unused += width
                self._offer(node)

    def _match(self, request: Request, prompt: int) -> list[_Node]:
        """The longest way through the tree along a prompt, one token of which is left to compute."""
        if request.computed or not request.hashes:
            return []
        version, length, path = self._matched.get(request.id, (-1, 0, []))
        if (version, length) == (self._version, prompt):
            return path
        path, node = [], self._root
        for key in request.hashes[: min(request.context, prompt - 1) // HASH_TOKENS]:
            found = node.children.get(key)
            if found is None:
                break
            path.append(found)
            node = found
        self._matched[request.id] = self._version, prompt, path
        return path

    def _use(self, node: _Node) -> None:
        if not node.users:
            self._num_unused -= self._blocks_a_hash
        node.users += 1

    def _offer(self, node: _Node) -> None:
        """A node that nobody uses and that ends its branch may go."""
        if not node.users and not node.children:
            heappush(self._unused, (node.used, node.blocks[0], node))

    def _make_room(self, count: int) -> None:
        """Give back blocks of the tree until so many are free, if there are."""
        while super().num_free < count and self._unused:
            used, _, node = heappop(self._unused)
            parent = node.parent
            if node.users or node.children or node.used != used or parent is None:
                continue  # in use again, or used since
            del parent.children[node.key]
            node.parent = None
            self._returned.extend(reversed(node.blocks))
            self._num_unused -= self._blocks_a_hash
            self._version += 1
            if parent is not self._root:
                self._offer(parent)

"""Prompts that begin alike share blocks: what is found, who uses it, and what goes when blocks are needed."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sim.serving.batch import Batch, StepResult
from sim.serving.kv_cache import KVCache
from sim.serving.policies import mixed, prefill_first
from sim.serving.prefix_cache import PrefixCache
from sim.serving.request import HASH_TOKENS, Request
from sim.serving.scheduler import Scheduler
from sim.serving.waiting import LongestPrefixFirst

BLOCK = 256  # two blocks a hash


def request(number: int, *hashes: int, more: int = 10, **about: int) -> Request:
    """A prompt of these hashes and some tokens of its own."""
    return Request(number, HASH_TOKENS * len(hashes) + more, max_tokens=2, hashes=hashes, **about)


def computed(cache: PrefixCache, one: Request) -> int:
    """Admit a request and compute its prompt; how many tokens of it were cached."""
    cached = cache.hold(one, one.context)
    cache.allocate(one.id, one.context + 1)
    cache.computed(one, one.context)
    return cached


def test_a_prompt_finds_what_others_have_computed_as_far_as_it_is_alike() -> None:
    cache = PrefixCache(40, BLOCK)
    assert computed(cache, request(0, 1, 2, 3)) == 0
    assert [cache.cached(one, one.context) for one in (request(1, 1, 2, 9), request(2, 2, 3), request(3, 1))] == [
        2 * HASH_TOKENS, 0, HASH_TOKENS,
    ]  # fmt: skip
    assert computed(cache, request(4, 1, 2, 9)) == 2 * HASH_TOKENS
    assert cache.table(4)[:4] == cache.table(0)[:4]
    assert set(cache.table(4)[4:]).isdisjoint(cache.table(0))


def test_one_token_at_least_is_left_to_compute() -> None:
    cache = PrefixCache(40, BLOCK)
    computed(cache, request(0, 1, 2))
    assert cache.cached(request(1, 1, 2, more=0), 2 * HASH_TOKENS) == HASH_TOKENS
    assert cache.cached(request(2, 1, 2, more=1), 2 * HASH_TOKENS + 1) == 2 * HASH_TOKENS


def test_whoever_shares_needs_fewer_blocks_and_what_nobody_uses_counts_as_free() -> None:
    cache = PrefixCache(10, BLOCK)
    computed(cache, request(0, 1, 2))
    same = request(1, 1, 2)
    assert (cache.num_free, cache.needed(same, same.context, same.context + 1)) == (5, 1)
    cache.free(0)
    assert (cache.num_free, cache.needed(same, same.context, same.context + 1)) == (10, 5)
    assert computed(cache, same) == 2 * HASH_TOKENS
    assert cache.num_free == 5


def test_the_branch_that_was_unused_for_longest_goes_first_from_its_end() -> None:
    cache = PrefixCache(11, BLOCK)
    for number, hashes in enumerate([(1, 2), (1, 3)]):
        computed(cache, request(number, *hashes))
    cache.free(1)
    cache.free(0)  # the tree keeps 1, 2 and 3; 3 was unused first
    cache.allocate(9, 6 * BLOCK)
    assert [cache.cached(request(i, 1, i), 9_999) for i in (2, 3)] == [2 * HASH_TOKENS, HASH_TOKENS]
    cache.free(9)
    cache.allocate(8, 9 * BLOCK)
    assert cache.cached(request(7, 1, 2), 9_999) == HASH_TOKENS
    cache.free(8)
    cache.allocate(6, 11 * BLOCK)
    assert cache.cached(request(7, 1, 2), 9_999) == 0


def test_what_is_held_is_not_given_away() -> None:
    cache = PrefixCache(6, BLOCK)
    computed(cache, request(0, 1, 2))
    cache.free(0)
    cache.hold(request(1, 1, 2), 9_999)
    with pytest.raises(ValueError, match="needs 3 blocks, 2 are free"):
        cache.allocate(5, 3 * BLOCK)


def test_two_that_compute_the_same_at_once_keep_the_blocks_of_the_first() -> None:
    cache = PrefixCache(20, BLOCK)
    for number in (0, 1):
        cache.hold(request(number, 1), 9_999)
        cache.allocate(number, HASH_TOKENS + 11)
    for number in (0, 1):
        cache.computed(request(number, 1), HASH_TOKENS + 10)
    assert (cache.table(0), cache.table(1)) == ([0, 1, 2], [0, 1, 5])  # 512 tokens in two blocks, and a rest
    assert cache.num_free == 20 - 4
    cache.free(0)
    assert cache.cached(request(2, 1), 9_999) == HASH_TOKENS
    cache.free(1)
    assert cache.num_free == 20
    assert sorted(cache.allocate(3, 20 * BLOCK)) == list(range(20))


def test_a_prompt_that_was_computed_elsewhere_is_shared_by_nobody_even_if_computed_again() -> None:
    cache = PrefixCache(20, BLOCK)
    elsewhere = Request(0, HASH_TOKENS + 10, 5, computed=True, hashes=(1,))
    cache.hold(elsewhere, HASH_TOKENS + 10)
    cache.allocate(0, HASH_TOKENS + 11)
    cache.computed(elsewhere, HASH_TOKENS + 10)
    assert cache.cached(request(1, 1), 9_999) == 0


def test_blocks_that_do_not_divide_a_hash_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^a hash of 512 tokens must be whole blocks, got blocks of 48 tokens$"):
        PrefixCache(9, 48)


def test_the_longest_prefix_goes_first() -> None:
    scheduler = Scheduler(PrefixCache(99, BLOCK), waiting=LongestPrefixFirst(), max_rows=1)
    scheduler.add((request(0, 1, 2),))
    scheduler.schedule()
    scheduler.add((request(1, 5), request(2, 1, 4), request(3, 1, 2), request(4, 5)))
    assert [r.id for r in scheduler.waiting] == [3, 2, 1, 4]
    assert [scheduler.left(r) for r in scheduler.waiting] == [10, 522, 522, 522]


class SharedBlocks(RuleBasedStateMachine):
    """A scheduler over prompts of few hashes. ``computes`` counts, by request, tokens computed since its admission."""

    @initialize(
        num_blocks=st.integers(12, 30),
        ahead=st.integers(0, 1),
        grow=st.booleans(),
        mix=st.booleans(),
        cut=st.booleans(),
    )
    def start(self, *, num_blocks: int, ahead: int, grow: bool, mix: bool, cut: bool) -> None:
        self.cache, self.ahead = PrefixCache(num_blocks, BLOCK), ahead
        policy = mixed if mix else prefill_first
        self.scheduler = Scheduler(self.cache, policy=policy, max_rows=4, token_budget=700, chunked=cut, grow=grow)
        self.arrived: list[Request] = []
        self.resident: set[int] = set()
        self.done: dict[int, int] = {}
        self.received: dict[int, int] = {}
        self.finished: dict[int, int] = {}
        self.contents: dict[int, tuple[int, ...]] = {}

    @rule(hashes=st.lists(st.integers(1, 2), max_size=3), more=st.integers(1, 300), tokens=st.integers(1, 300))
    def arrive(self, hashes: list[int], more: int, tokens: int) -> None:
        one = Request(len(self.arrived), HASH_TOKENS * len(hashes) + more, tokens, hashes=tuple(hashes))
        self.arrived.append(one)
        self.received[one.id] = 0
        self.scheduler.add((one,))

    @rule(steps=st.integers(1, 40))
    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            if len(self.scheduler.in_flight) <= self.ahead and (batch := self.scheduler.schedule()):
                self.check(batch)
            elif self.scheduler.in_flight:
                self.process()

    def process(self) -> None:
        batch = self.scheduler.in_flight[0]
        outputs = self.scheduler.process(batch, StepResult(0))
        partial = {chunk.request.id for chunk in batch.prompts if not chunk.output}
        for one in batch.members:
            self.received[one.id] += one.id not in partial
        self.finished |= {one.id: tokens for one, tokens, _ in outputs.finished}
        self.resident -= set(outputs.freed)

    def check(self, batch: Batch) -> None:
        """A prompt is computed from where what is alike ends, and its cached blocks hold what it begins with."""
        self.resident -= {one.id for one in batch.preempted}
        cached = 0
        for one in batch.admitted:
            self.resident.add(one.id)
            self.done.pop(one.id, None)
        for chunk in batch.prompts:
            number, table = chunk.request.id, self.cache.table(chunk.request.id)
            if number not in self.done:
                cached += chunk.start
                assert chunk.start % HASH_TOKENS == 0
                for at in range(chunk.start // HASH_TOKENS):
                    known = self.contents[table[2 * at]]
                    assert known == chunk.request.hashes[: at + 1]
            else:
                assert chunk.start == self.done[number]
            self.done[number] = chunk.stop
        assert batch.cached == cached
        for chunk in batch.prompts:  # what a block holds changes when it is written, and only then
            table = self.cache.table(chunk.request.id)
            for at in range(chunk.start // BLOCK, -(-chunk.stop // BLOCK)):
                whole = chunk.request.hashes[: at // 2 + 1] if chunk.stop >= (at + 1) * BLOCK else ()
                self.contents[table[at]] = whole if len(whole) == at // 2 + 1 else ()
        for one in batch.members[: batch.decode_rows]:
            self.contents[self.cache.table(one.id)[-1]] = ()

    @invariant()
    def every_block_is_somewhere_once(self) -> None:
        tables = {number: self.cache.table(number) for number in self.resident}
        used = {block for table in tables.values() for block in table}
        assert len(used) == self.cache.num_blocks - self.cache.num_free
        for number, table in tables.items():
            assert len(set(table)) == len(table)
            own = table[self.arrived[number].context // HASH_TOKENS * 2 :]
            others = {block for other, blocks in tables.items() if other != number for block in blocks}
            assert others.isdisjoint(own)

    @rule()
    def drain(self) -> None:
        """Everybody gets all tokens once, and then the whole cache can be given to somebody else."""
        for _ in range(5_000):
            if self.scheduler.idle:
                break
            self.go_on(1)
        assert self.finished == {one.id: one.max_tokens for one in self.arrived} == self.received
        assert self.cache.num_free == self.cache.num_blocks
        everything = 10**6
        assert sorted(self.cache.allocate(everything, self.cache.num_blocks * BLOCK)) == list(
            range(self.cache.num_blocks)
        )
        self.cache.free(everything)


SharedBlocks.TestCase.settings = settings(max_examples=40, stateful_step_count=15)
TestSharedBlocks = SharedBlocks.TestCase


def test_without_a_prefix_cache_nothing_is_shared() -> None:
    cache = KVCache(9, BLOCK)
    assert (cache.cached(request(0, 1), 600), cache.hold(request(0, 1), 600)) == (0, 0)

"""A KV cache that counts by runs shows what one that keeps a list of blocks shows."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from simulator.model.kv_cache import BlockPool, SequenceBlocks
from simulator.model.profile import Scheduling
from simulator.model.sequence import ENDLESS, KeyRuns, Sequence
from tests.examples import examples

SIZE = 4


class BlockList:
    """One cache block by block: who holds it by key, and the idle ones, oldest first."""

    def __init__(self, capacity):
        self.capacity, self.evictions, self.unkeyed = capacity, 0, 0
        self.held, self.idle = {}, []

    @property
    def in_use(self):
        return self.unkeyed + len(self.held)

    def hold(self, key):
        if key in self.idle:
            self.idle.remove(key)
        self.held[key] = self.held.get(key, 0) + 1

    def allocate(self, count):
        if count > self.capacity - self.in_use:
            return False
        while count > self.capacity - self.in_use - len(self.idle):
            self.idle.pop(0)
            self.evictions += 1
        self.unkeyed += count
        return True

    def release(self, key):
        self.held[key] -= 1
        if not self.held[key]:
            del self.held[key]
            self.idle.append(key)


class Holder:
    """A sequence on a `BlockList`."""

    def __init__(self, blocks, key, tokens):
        self.blocks, self.key, self.keys = blocks, key, []
        for index in range((tokens - 1) // SIZE):
            if key(index) not in blocks.held and key(index) not in blocks.idle:
                break
            self.keys.append(key(index))
        for one in self.keys:
            blocks.hold(one)
        self.computed, self.unkeyed = len(self.keys) * SIZE, 0

    def grow(self, tokens):
        wanted = -(-(self.computed + tokens) // SIZE) - len(self.keys) - self.unkeyed
        if wanted > 0:
            if not self.blocks.allocate(wanted):
                return False
            self.unkeyed += wanted
        self.computed += tokens
        for index in range(len(self.keys), self.computed // SIZE):
            self.keys.append(self.key(index))
            self.blocks.hold(self.keys[-1])
            self.unkeyed -= 1
            self.blocks.unkeyed -= 1
        return True

    def release(self):
        for one in reversed(self.keys):
            self.blocks.release(one)
        self.blocks.unkeyed -= self.unkeyed


class Counted:
    """A sequence on the cache that is tested."""

    def __init__(self, cache, key, tokens):
        self.cache, self.sequence = cache, Sequence(tokens, 1, key)
        cache.take_prefix(self.sequence)

    @property
    def computed(self):
        return self.sequence.computed

    def grow(self, tokens):
        if not self.cache.allocate_for(self.sequence, tokens):
            return False
        self.sequence.computed += tokens
        self.cache.seal_full(self.sequence)
        return True

    def release(self):
        self.cache.release(self.sequence)


def keys(tenant: int, session: int, branch: int, shared: int, known: int) -> KeyRuns:
    """A tenant's system prompt, a session's history, and what one of its requests adds."""
    own = (3 * session + 1) << 20
    begin = (shared, (3 * tenant) << 20)
    if not branch:
        return KeyRuns(begin, (ENDLESS, own))
    return KeyRuns(begin, (max(shared, known), own), (ENDLESS, own + (branch << 40)))


begins = st.tuples(
    st.just("begin"), st.integers(0, 1), st.integers(0, 2), st.integers(0, 1), st.integers(1, 50)
)
others = st.tuples(st.sampled_from(["grow", "grow", "end"]), st.integers(0, 5), st.integers(1, 30))


@examples(300)
@given(st.integers(3, 24), st.integers(0, 3), st.lists(begins | others, max_size=40))
def test_runs_show_what_blocks_would(capacity, shared, steps):
    compare(capacity, shared, steps)


def test_a_long_walk_shows_the_same():
    """Long enough for parts of runs to be evicted and looked for again: examples seldom are."""
    random = Random(7)

    def step():
        if random.random() < 0.4:
            sizes = random.randrange(2), random.randrange(3), random.randrange(2)
            return "begin", *sizes, random.randint(1, 50)
        return random.choice(["grow", "end", "end"]), random.randrange(6), random.randint(1, 30)

    compare(24, 2, [step() for _ in range(1500)])


def compare(capacity, shared, steps):
    by_block, known = BlockList(capacity), {}
    pools = BlockPool(capacity), BlockPool(capacity)
    scheduling = Scheduling(block_size=SIZE, num_gpu_blocks=capacity)
    by_run, by_key = (SequenceBlocks(pool, scheduling) for pool in pools)
    here = []
    for what, *rest in steps:
        if what == "begin":
            tenant, session, branch, tokens = rest
            # As a session's history grows, so does what its branches have in common.
            known[session] = max(known.get(session, 0), tokens // SIZE)
            runs = keys(tenant, 3 * tenant + session, branch, shared, known[session])
            made = (
                Holder(by_block, runs, tokens),
                Counted(by_run, runs, tokens),
                Counted(by_key, lambda index, runs=runs: runs(index), tokens),
            )
            assert made[0].computed == made[1].computed == made[2].computed
            here.append(made)
        elif here:
            three = here[rest[0] % len(here)]
            if what == "grow":
                assert len({one.grow(rest[1]) for one in three}) == 1
            else:
                here.remove(three)
                for one in three:
                    one.release()
        for pool in pools:
            assert (pool.in_use, pool.evictions) == (by_block.in_use, by_block.evictions)
            assert pool.cached == len(by_block.idle)
            assert pool.in_use + pool.cached <= capacity
    for three in here:
        for one in three:
            one.release()
    assert [pool.in_use for pool in pools] == [0, 0]

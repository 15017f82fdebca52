"""What must always hold of summaries: stable prefixes, bounds, and walls between tenants."""

import asyncio
import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.support.agent_bodies import DIALECTS
from router.summaries.book import BookBounds, SummaryBook
from router.summaries.keys import chain_keys, result_key
from tests.examples import examples
from tests.unit.serve_app.conftest import World
from tests.unit.serve_app.summaries.summaries import AGENTS, HISTORY, Replicas, long, written

LIMITS = st.tuples(st.integers(1, 8), st.integers(300, 3000), st.integers(1, 20))
TENANTS = st.sampled_from(["acme", "guest"])
ACTS = st.lists(
    st.tuples(TENANTS, st.booleans(), st.integers(0, 9), st.integers(0, 400), st.integers(0, 4)),
    max_size=60,
)


@given(LIMITS, ACTS)
@examples(150)
def test_a_book_keeps_its_bounds_and_its_walls(limits, acts):
    """What one tenant does changes nothing of what another finds."""
    count, size, idle_s = limits
    both, alone = (SummaryBook(BookBounds(count, size, idle_s)) for _ in range(2))
    now = 0.0
    for tenant, puts, number, length, later in acts:
        now += later
        key = result_key(str(number), 1)
        books = [both, alone] if tenant == "acme" else [both]
        if puts:
            for book in books:
                book.put(tenant, key, f"{tenant}{'x' * length}", now)
        else:
            found = [book.get(tenant, key, now) for book in books]
            assert len(set(found)) == 1
            assert found[0] is None or found[0].startswith(tenant)
        for name in ("acme", "guest"):
            # One text may be over the bytes by itself.
            assert both.bytes_of(name) <= max(size, 400 + 5 + 200)
    assert len(both) <= 2 * count


@given(st.lists(st.text(max_size=8), min_size=1, max_size=12), st.data())
@examples(100)
def test_a_longer_conversation_has_the_keys_of_the_shorter_one(texts, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, len(texts)), max_size=5)))
    keys = chain_keys(texts, cuts)

    assert len(set(keys)) == len(cuts)
    for number in range(len(cuts)):
        assert chain_keys(texts[: cuts[number]], cuts[: number + 1]) == keys[: number + 1]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["long", "short", "same"]),
        st.sampled_from(["well", "down", "empty"]),
        st.integers(0, 2),
        st.booleans(),
    ),
    min_size=2,
    max_size=10,
)


@given(st.sampled_from(sorted(DIALECTS)), STEPS, st.booleans())
@examples(25)
def test_prompts_grow_at_their_end_wherever_they_are_served(path, steps, has_history):
    """Three ingress replicas in any order, restarts, a lane that comes and goes.

    Without a history budget no prompt changes what an earlier one began with; with one, only a
    turn that moves the cut does.
    """
    asyncio.run(_talk(path, steps, has_history))


async def _talk(path, steps, has_history) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        tier = {"agents": AGENTS} | ({"history": HISTORY} if has_history else {})
        made = Replicas(world, **tier)
        try:
            peers = [(made.shelves[-1], world.state)]
            peers += [(made.shelves[-1], made.next()) for _ in range(2)]
            peers = [(shelf, state) for shelf, (_, state) in zip(made.shelves, peers, strict=True)]
            await _steps(made, peers, path, steps)
        finally:
            made.close()
            for each in (world.recorder, world.store, world.meter, world.tenancy):
                each.close()


async def _steps(made, peers, path, steps) -> None:
    turns, before, cuts = [], [], None
    for number, (size, lane, peer, restarts) in enumerate(steps):
        if restarts:
            peers[peer] = (None, made.next())
            peers[peer] = (made.shelves[-1], peers[peer][1])
        made.back(*peers[peer])
        lanes = made.lanes
        lanes.is_down = lane == "down"
        lanes.writes = lambda n, empty=lane == "empty": written(None if empty else f"Summary {n}.")
        result = {"long": long(str(number)), "short": "short", "same": long("same")}[size]
        turns.append([["read", {"n": number}, result]])
        response = await made.ask(path, turns)
        history = response.headers.get("x-pointsman-history")
        moved = made.world.count("pointsman_history_cuts_total", tier="paid")
        if not moved:
            assert made.prompt[: len(before)] == before, json.dumps(made.prompt)[:2000]
            assert history == cuts
        before, cuts = made.prompt, history

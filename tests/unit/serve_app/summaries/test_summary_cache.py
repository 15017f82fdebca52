"""What summaries leave of the prefix cache, counted by the simulated engine."""

import json

from simulator.http.answers import block_keys
from simulator.http.asks import read_chat
from simulator.model.kv_cache import BlockPool, SequenceBlocks
from simulator.model.profile import Scheduling
from simulator.model.sequence import Sequence
from tests.unit.serve_app.summaries.summaries import AGENTS, CHAT, HISTORY, UNBOUND, long
from tests.unit.serve_app.summaries.test_turn_summaries import turns as small_turns

BLOCK = 16
TURNS = 10


def hit_ratio(prompts) -> float:
    """Tokens that the engine finds in its cache, of those of all prompts."""
    scheduling = Scheduling(block_size=BLOCK, num_gpu_blocks=100_000)
    cache = SequenceBlocks(BlockPool(scheduling.num_gpu_blocks), scheduling)
    tokens_read = found = 0
    for body in prompts:
        (tokens,) = read_chat(body, trims=False).prompts
        asked = Sequence(len(tokens) + 1, 1, block_keys(tokens, [], BLOCK, ""))
        tokens_read += len(tokens)
        found += BLOCK * cache.read(asked, len(tokens) // BLOCK)
    return found / tokens_read


async def conversation(made, turns, *, moves: bool) -> float:
    """The hit ratio of a conversation that grows turn by turn; `moves`: from replica to replica."""
    made.lanes.sent.clear()
    for count in range(1, len(turns) + 1):
        await made.ask(CHAT, turns[:count])
        if moves:
            made.next()
    return hit_ratio(made.lanes.sent)


async def test_summarised_results_leave_the_cache_nine_tenths_of_what_it_was(replicas):
    """Ten turns with a long result each, every turn at another ingress replica."""
    turns = [[["read", {}, long(str(n))], ["list", {}, "short"]] for n in range(TURNS)]
    plain = await conversation(replicas(agents=UNBOUND), turns, moves=True)
    summarised = replicas(agents=AGENTS)
    with_summaries = await conversation(summarised, turns, moves=True)

    assert with_summaries > 0.6
    # Prompts are a third as long, so what a turn adds is a larger part of them.
    assert len(json.dumps(summarised.lanes.sent[-1])) < 0.35 * TURNS * len(long("0"))
    shortened = replicas(agents={**UNBOUND, "tool_results": {"max_tokens": 300}})
    cut = await conversation(shortened, turns, moves=True)
    assert with_summaries >= 0.9 * min(plain, cut)
    print(f"plain {plain:.3f}, shortened {cut:.3f}, summarised {with_summaries:.3f}")


async def test_summarised_turns_leave_the_cache_nine_tenths_of_what_dropping_leaves(replicas):
    turns = small_turns(3 * TURNS)
    dropped = await conversation(replicas(history={**HISTORY, "mode": "drop"}), turns, moves=True)
    summarised = await conversation(replicas(history=HISTORY), turns, moves=True)

    assert dropped > 0.4
    assert summarised >= 0.9 * dropped
    print(f"dropped {dropped:.3f}, summarised {summarised:.3f}")


async def test_summaries_that_nobody_keeps_would_cost_it(replicas):
    """The same without a disk: each replica has words of its own, and the prefix is gone."""
    turns = [[["read", {}, long(str(n))]] for n in range(TURNS)]
    kept = await conversation(replicas(agents=AGENTS), turns, moves=True)
    made = replicas({"on_disk": False}, agents=AGENTS)
    forgotten = await conversation(made, turns, moves=True)

    assert forgotten < 0.75 * kept

"""What trimming tool results and shuffling tools leave of the prefix cache, simulated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from benchmarks.support.agent_calls import CHAT, Data, exchanges
from router.agents.shorten import ResultLimit, shorten
from serve_app.agents.tool_order import in_order
from simulator.http.answers import block_keys
from simulator.http.asks import read_chat
from simulator.model.kv_cache import BlockPool, SequenceBlocks
from simulator.model.profile import load_profile
from simulator.model.sequence import Sequence

CARD = "qwen-2.5-14b-awq-rtx4090"
CONVERSATIONS = 40
LIMIT = ResultLimit(1000)
NAIVE_OLD, NAIVE_ALL = ResultLimit(200), ResultLimit(4000)

Change = Callable[[Data, Random], Data]


def _results(body: Data) -> list[Data]:
    return [message for message in body["messages"] if message["role"] == "tool"]


def _cut(body: Data, limits: list[int]) -> Data:
    left = iter(limits)
    said = [
        {**x, "content": shorten(x["content"], next(left))} if x["role"] == "tool" else x
        for x in body["messages"]
    ]
    return {**body, "messages": said}


def untouched(body: Data, _: Random) -> Data:
    return body


def trimmed(body: Data, _: Random) -> Data:
    return _cut(body, [LIMIT.max_bytes] * len(_results(body)))


def newest_whole(body: Data, _: Random) -> Data:
    """Old results are cut hard, the newest stays: what is cut depends on the turn."""
    count = len(_results(body))
    return _cut(body, [*[NAIVE_OLD.max_bytes] * (count - 1), 2**30][-count:] if count else [])


def shared_budget(body: Data, _: Random) -> Data:
    """All results share one budget: each one's part shrinks from turn to turn."""
    count = len(_results(body))
    return _cut(body, [NAIVE_ALL.max_bytes // max(1, count)] * count)


def shuffled(body: Data, random: Random) -> Data:
    return {**body, "tools": random.sample(body["tools"], len(body["tools"]))}


def canonical(body: Data, random: Random) -> Data:
    mixed = shuffled(body, random)
    return {**mixed, "tools": in_order(mixed["tools"])}


CASES: dict[str, Change] = {
    "as it is": untouched,
    "results cut to 1,000 tokens": trimmed,
    "naive: old results to 200, the newest whole": newest_whole,
    "naive: 4,000 tokens for all results": shared_budget,
    "tools shuffled": shuffled,
    "tools shuffled, canonical order": canonical,
}


def hits(talks: list[Data]) -> Iterator[Data]:
    """Prompt tokens that each way leaves, and how many of them are in the cache."""
    scheduling = load_profile(CARD).scheduling
    chosen = [talk for talk in talks if len(_long(talk)) > 1][:CONVERSATIONS]
    before = None
    for what, change in CASES.items():
        random, prompt, cached, requests = Random(7), 0, 0, 0
        for talk in chosen:
            cache = SequenceBlocks(BlockPool(scheduling.num_gpu_blocks), scheduling)
            for asked in exchanges(talk):
                body = change(asked.body(CHAT, stream=False), random)
                tokens, found = _read(cache, body, scheduling.block_size)
                prompt, cached, requests = prompt + tokens, cached + found, requests + 1
        ratio = cached / prompt
        before = before or ratio
        row: Data = {"what": what, "conversations": len(chosen), "requests": requests}
        row |= {
            "prompt tokens": prompt,
            "hit ratio": ratio,
            "of what it was %": 100 * ratio / before,
        }
        yield row


def _long(talk: Data) -> list[Any]:
    """Results that are longer than the limit."""
    calls = [call for turn in talk["turns"] for call in turn["calls"]]
    return [call for call in calls if len(call[2].encode()) > LIMIT.max_bytes]


def _read(cache: SequenceBlocks, body: Data, size: int) -> tuple[int, int]:
    """Have the engine read a prompt; its tokens, and those that it had read before."""
    (tokens,) = read_chat(body, trims=False).prompts
    asked = Sequence(len(tokens) + 1, 1, block_keys(tokens, [], size, ""))
    return len(tokens), cache.read(asked, len(tokens) // size) * size

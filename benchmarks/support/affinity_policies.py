"""Ways of choosing a replica, for the simulated fleet.

Ray's routers need a cluster, so what decides in them runs here without one: the hash
ring is `ConsistentHashRouter`'s own code and the prefix tree is Ray's own class. Power of
two choices and the steps around the prefix tree are restated from Ray 2.60's source.
All of those see exact queue lengths at the moment of choice, which is more than Serve's
cache gives them. Pointsman's policy is the production code of `router/`, on two ingress
replicas that share nothing but reports a second old.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from router.placement.affinity import AffinityConfig, Outcome, TurnFacts
from router.placement.open_turns import OpenTurns
from router.placement.placement import LanePlacement
from simulator.model.engine import BatchingEngine
from simulator.virtual_time.fleet import Ask

# Reports travel replica -> controller -> long poll -> ingress.
REPORT_DELAY_S = 0.3
INGRESSES = 2


class RoundRobin:
    """Each request to the next replica."""

    def __init__(self, engines: list[BatchingEngine], random: Random) -> None:
        self._next = 0
        self._open = [0] * len(engines)

    def choose(self, ask: Ask, live: Sequence[int], now: float) -> int:
        self._next += 1
        return live[self._next % len(live)]

    def finished(self, ask: Ask, replica: int, now: float) -> None:
        """Nothing is counted."""

    def tick(self, now: float) -> None:
        """Nothing is reported."""


class PowerOfTwo:
    """The less busy of two replicas drawn at random (Serve's default)."""

    def __init__(self, engines: list[BatchingEngine], random: Random) -> None:
        self._random = random
        self.open = [0] * len(engines)

    def choose(self, ask: Ask, live: Sequence[int], now: float) -> int:
        drawn = self._random.sample(list(live), min(2, len(live)))
        return self._take(drawn)

    def _take(self, candidates: Sequence[int]) -> int:
        chosen = min(candidates, key=self.open.__getitem__)
        self.open[chosen] += 1
        return chosen

    def finished(self, ask: Ask, replica: int, now: float) -> None:
        self.open[replica] -= 1

    def tick(self, now: float) -> None:
        """Queue lengths are exact."""


class RayConsistentHash(RoundRobin):
    """`ConsistentHashRouter`: its ring of 100 virtual nodes a replica, keyed by session.

    Its fallbacks answer rejections at `max_ongoing_requests`, which never come here.
    """

    def __init__(self, engines: list[BatchingEngine], random: Random) -> None:
        from ray.serve._private.common import DeploymentID
        from ray.serve.experimental import consistent_hash_router as ray_router

        self._salt = random.getrandbits(32)
        self._deployment = DeploymentID("simulated")
        self._router = object.__new__(ray_router.ConsistentHashRouter)
        self._router._num_virtual_nodes = ray_router.DEFAULT_NUM_VIRTUAL_NODES
        self._router._num_fallback_replicas = ray_router.DEFAULT_NUM_FALLBACK_REPLICAS
        self._router._deployment_id = self._deployment
        self._live: dict[Any, int] = {}

    def choose(self, ask: Ask, live: Sequence[int], now: float) -> int:
        if list(live) != list(self._live.values()):
            from ray.serve._private.common import ReplicaID

            self._live = {ReplicaID(f"{self._salt}-{i}", self._deployment): i for i in live}
            self._router._rebuild_ring(frozenset(self._live))
        return self._live[self._router._lookup_ranked_replicas(f"session-{ask.session}")[0]]


class RayPrefixAffinity(PowerOfTwo):
    """`PrefixCacheAffinityRouter` over Ray's own `PrefixTree`.

    A prompt is one character for each 4 tokens, where a real one has about 16: the tree
    compares shares of a prompt and counts characters, so only its cost depends on that.
    Ray's router inserts the prompt after routing, not the answer; so here.
    """

    THRESHOLD = math.inf

    def __init__(self, engines: list[BatchingEngine], random: Random) -> None:
        super().__init__(engines, random)
        from ray.llm._internal.serve.routing_policies.prefix_aware.prefix_tree import PrefixTree

        self._tree = PrefixTree()
        self._known: set[int] = set()

    def choose(self, ask: Ask, live: Sequence[int], now: float) -> int:
        self._update(live, now)
        text = _text(ask)
        replica = self._take(self._candidates(text, live))
        self._tree.insert(text, str(replica), now)
        return replica

    def _candidates(self, text: str, live: Sequence[int]) -> list[int]:
        queues = [self.open[i] for i in live]
        fallback = self._random.sample(list(live), min(2, len(live)))
        if max(queues) - min(queues) > self.THRESHOLD:
            return fallback
        matched, names = self._tree.prefix_match(text, [str(i) for i in live])
        # Ray's match_rate_threshold is 0.1 by default.
        if len(matched) / len(text) < 0.1:
            names = self._tree.get_smallest_tenants()
        return [int(name) for name in names or ()] or fallback

    def _update(self, live: Sequence[int], now: float) -> None:
        gone, new = self._known - set(live), set(live) - self._known
        if gone:
            self._tree.remove_tenants([str(i) for i in gone])
        if new:
            self._tree.add_tenants([str(i) for i in sorted(new)], now)
        self._known = set(live)


class RayPrefixAffinityBalanced(RayPrefixAffinity):
    """The same with a threshold of 10 on the difference of queues (its default is none)."""

    THRESHOLD = 10


def _text(ask: Ask) -> str:
    """A prompt as characters that are the same wherever its tokens are."""
    system = chr(0x4E00 + ask.tenant % 20_000) * (ask.system_tokens // 4)
    own = chr(0x20000 + ask.session % 40_000)
    return system + own * ((ask.history_tokens + ask.input_tokens) // 4 + 1)


class Pointsman:
    """The production policy: two ingress replicas, reports once a second."""

    CONFIG = AffinityConfig()

    def __init__(self, engines: list[BatchingEngine], random: Random) -> None:
        self._engines, self._random = engines, random
        salt = random.getrandbits(32)
        self._names = [f"{salt}-{i}" for i in range(len(engines))]
        self._index = {name: i for i, name in enumerate(self._names)}
        self._ingresses = [LanePlacement(self.CONFIG, f"ingress-{i}") for i in range(INGRESSES)]
        self._replicas = [OpenTurns(256, 600) for _ in engines]
        self._published: list[tuple[float, dict[str, dict[str, Any]]]] = []
        self._stats: dict[str, dict[str, Any]] = {name: {} for name in self._names}
        self._came_by: dict[tuple[int, int], list[int]] = {}
        self.outcomes: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        self.slots = engines[0].scheduling.max_num_seqs

    def choose(self, ask: Ask, live: Sequence[int], now: float) -> int:
        number = self._random.randrange(INGRESSES)
        ingress = self._ingresses[number]
        turn = TurnFacts(
            f"tenant-{ask.tenant}",
            f"tenant-{ask.tenant}\0session-{ask.session}",
            history_tokens=ask.history_tokens,
            system_tokens=ask.system_tokens,
        )
        chosen = ingress.choose(turn, self._view(live, now), self.slots, now=now)
        name = chosen.order[0]
        ingress.begin(name)
        self.outcomes[chosen.outcome] += 1
        replica = self._index[name]
        self._came_by.setdefault((ask.session, replica), []).append(number)
        self._replicas[replica].begin(f"ingress-{number}", turn.group, chosen.spilled, now=now)
        return replica

    def finished(self, ask: Ask, replica: int, now: float) -> None:
        number = self._came_by[ask.session, replica].pop()
        self._ingresses[number].end(self._names[replica])
        self._replicas[replica].end(f"ingress-{number}", f"tenant-{ask.tenant}", now=now)

    def tick(self, now: float) -> None:
        """Publish; ingress replicas see it a little later."""
        reports = {
            name: replica.report(engine.pool.utilization(), now=now).to_mapping()
            for name, replica, engine in zip(
                self._names, self._replicas, self._engines, strict=True
            )
        }
        self._published.append((now + REPORT_DELAY_S, reports))

    def _view(self, live: Sequence[int], now: float) -> Mapping[str, Mapping[str, Any]]:
        while self._published and self._published[0][0] <= now:
            self._stats = self._published.pop(0)[1]
        return {self._names[i]: self._stats[self._names[i]] for i in live}


POLICIES: dict[str, Any] = {
    "round robin": RoundRobin,
    "power of two choices": PowerOfTwo,
    "Ray PrefixCacheAffinityRouter": RayPrefixAffinity,
    "Ray PrefixCacheAffinityRouter, threshold 10": RayPrefixAffinityBalanced,
    "Ray ConsistentHashRouter": RayConsistentHash,
    "Pointsman": Pointsman,
}

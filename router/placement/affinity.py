"""Which replica of a lane serves a turn: affinity with a bound on load.

Theory of operation
-------------------
Three orders are derived from names alone, so every ingress replica finds the
same ones (rendezvous hashing, `router.placement.replica`):

1. A *group* (a tenant, or the tenants that share a cache) orders the lane's
   replicas. Its first `k` are its subset (shuffle sharding): its system prompt
   lives in `k` caches, not in all. `k` follows the group's traffic and only ever
   takes or leaves replicas at the end of the same order.
2. A session orders the replicas of its subset. The first is its *home*; past the
   subset it follows the group's order.
3. A turn goes to where its session is warm: home, or the replica that it *spilled*
   to before.

That replica may be over its bound. Consistent hashing with bounded loads
(Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads",
SODA 2018) caps each replica at `load_factor` times the mean and passes what is over
to the next. Here a move has a price, the history to read again, so there are
two bounds:

* the **soft** bound: `load_factor` times the mean. The turn moves when that is
  cheaper: when `open requests more here than there x seat_tokens` is more than the
  tokens to read again there. Both sides are prefill work, so the comparison holds on
  fast and slow engines alike.
* the **hard** bound: more open requests than the engine runs at once. The turn would
  wait, so each place in that queue counts `wait_tokens` more. It is a price, too:
  where all engines are full, moving warm sessions to whatever slot is free makes
  every engine read more, and all wait longer. A KV cache that is nearly full has no
  price: the turn would preempt others, and goes where there is room.

The calls of one *task* (an agent and its sub-agents, `x-task-id`) have one home, that of the
task, whatever sessions they are of: what they have in common is read once there. While it is
not over its hard bound, leaving it costs a call the opening, too; a session that it spilled is
remembered by itself, so that the others stay.

A spilled session goes home under the same comparison, never for tidiness: with equal
loads it stays. A new session has nothing to read again, so it is new sessions
that even out the load, and warm ones move only over a steep difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from router.placement.replica import rank_replicas
from router.types import record


@dataclass(frozen=True)
class AffinityConfig:
    """The policy's settings; `metadata` bounds what a file may say.

    Attributes:
        load_factor: soft bound, as a multiple of the mean open requests; at least 1.
        target_utilization: hard bound, as a share of the sequences that an engine runs at once.
        kv_bound: hard bound on KV utilization, 0 to 1.
        seat_tokens: what one more open request costs a turn, as the tokens whose
            prefill takes as long.
        wait_tokens: what a place in an engine's queue costs on top. Of 200, 400 and
            1,600, 200 gave the lowest p99 TTFT on a simulated fleet past its slots
            (benchmarks/affinity.py, 168 sessions).
        subset_least: replicas of a group without traffic to speak of.
        subset_fill: share of an engine's sequences that one group may hold on
            average before its subset grows.
        dedicated_replicas: whether a busy group can have replicas that others do not use.
        own_turns_per_day: turns a day from which it has them (the chatbot guide gives a
            tenant its own KV pool from 100,000).

    """

    load_factor: float = field(default=1.1, metadata={"ge": 1})
    target_utilization: float = field(default=1.0, metadata={"gt": 0})
    kv_bound: float = field(default=0.9, metadata={"gt": 0, "le": 1})
    seat_tokens: float = field(default=80.0, metadata={"ge": 0})
    wait_tokens: float = field(default=200.0, metadata={"ge": 0})
    subset_least: int = field(default=2, metadata={"ge": 1})
    subset_fill: float = field(default=0.25, metadata={"gt": 0})
    dedicated_replicas: bool = False
    own_turns_per_day: int = field(default=100_000, metadata={"ge": 1})


@record
class ReplicaLoad:
    """A live replica's requests, running or waiting, and its engine's `max_num_seqs`."""

    open: int
    slots: int
    kv_utilization: float = 0.0


@record
class TurnFacts:
    """One turn, as far as its placement depends on it.

    Attributes:
        group: tenant or cache group.
        session: the session's key, tenant included.
        history_tokens: tokens before the newest message, the opening excluded.
        system_tokens: tokens of the opening: the system prompt and the tools, which the
            sessions of a group share.
        task: the key of the task that it belongs to, tenant included; empty: of none.

    """

    group: str
    session: str
    history_tokens: int = 0
    system_tokens: int = 0
    task: str = ""


class Outcome(StrEnum):
    """How a turn came to its replica."""

    HOME = "home"
    AWAY = "away"
    SPILLED = "spilled"
    RETURNED = "returned"


@record
class Placement:
    """Where a turn goes.

    Attributes:
        order: replicas to try, the chosen one first.
        outcome: how it came to the first.
        spilled: what that replica is to remember, the session's hash and the number of
            its move; None for a session that has always been at home.

    """

    order: list[str]
    outcome: Outcome
    spilled: tuple[str, int] | None = None

    @property
    def replica(self) -> str:
        return self.order[0]


def subset_size(config: AffinityConfig, group_open: float, slots: int, replicas: int) -> int:
    """Return how many of the lane's live replicas are a group's subset.

    `group_open` is the group's mean of open requests on the lane (rate x duration of its
    turns), `slots` the sequences that one engine runs at once.
    """
    if replicas <= 1:
        return 1
    wanted = math.ceil(group_open / (config.subset_fill * slots))
    return max(1, min(max(config.subset_least, wanted), replicas))


def session_order(turn: TurnFacts, group_order: Sequence[str], size: int) -> list[str]:
    """Order replicas as a session tries them: its subset by task or session, the rest by group."""
    subset, rest = group_order[:size], group_order[size:]
    return rank_replicas(turn.task or turn.session, subset) + list(rest)


def owned_replicas(
    turns: Mapping[str, float],
    sizes: Mapping[str, int],
    replica_ids: Sequence[str],
    at_least: float,
) -> dict[str, list[str]]:
    """Return the replicas of each group that owns some: from `at_least` turns a day on.

    Half of the replicas stay shared, so a lane of one never has an owner. Owners
    choose in the order of their names: a busier one does not push another off. A group
    that `sizes` does not name takes one replica.
    """
    shared = list(replica_ids)
    left = len(shared) // 2
    owned: dict[str, list[str]] = {}
    for group in sorted(g for g, count in turns.items() if count >= at_least):
        take = min(sizes.get(group, 1), left)
        if take < 1:
            break
        owned[group] = rank_replicas(group, shared)[:take]
        shared = [replica for replica in shared if replica not in owned[group]]
        left -= take
    return owned


def place(
    config: AffinityConfig,
    turn: TurnFacts,
    order: Sequence[str],
    size: int,
    loads: Mapping[str, ReplicaLoad],
    at: str | None = None,
) -> Placement:
    """Place one turn.

    `order` is the session's over the live replicas (`session_order`), of which the first
    `size` are its subset. `at` is where the session was placed away from home, if it was.
    """
    if len(order) == 1:
        # Wherever it was before, that is not there.
        return Placement([order[0]], Outcome.HOME)
    total = sum([loads[replica].open for replica in order])
    # Counting the request that is being placed, as the paper does.
    soft = math.ceil(config.load_factor * (total + 1) / len(order))
    choice = _Choice(config, turn, order, frozenset(order[size:]), loads, soft)
    home = order[0]
    here = at if at is not None and at in loads else home
    if here != home and choice.has_room(home) and choice.is_cheaper(here, home):
        return choice.placed(home, Outcome.RETURNED)
    there = choice.way_out(here)
    if there is not None:
        return choice.placed(there, Outcome.SPILLED if there != home else Outcome.RETURNED)
    return choice.placed(here, Outcome.HOME if here == home else Outcome.AWAY)


@dataclass(slots=True)
class _Choice:
    """One decision: `outside` the subset are these replicas; `soft` is in open requests."""

    config: AffinityConfig
    turn: TurnFacts
    order: Sequence[str]
    outside: frozenset[str]
    loads: Mapping[str, ReplicaLoad]
    soft: int

    def is_free(self, replica: str) -> bool:
        """Return whether one more request stays within the hard bound."""
        return self._queued(replica) <= 0 and not self._is_packed(replica)

    def has_room(self, replica: str) -> bool:
        """Return whether one more request stays within both bounds."""
        return self.loads[replica].open + 1 <= self.soft and self.is_free(replica)

    def is_cheaper(self, here: str, there: str) -> bool:
        """Return whether moving costs less than staying; see the module's docstring."""
        if self._is_packed(here):
            return True
        more = self.loads[here].open - self.loads[there].open
        cost = more * self.config.seat_tokens
        cost += max(0.0, self._queued(here)) * self.config.wait_tokens
        tokens = self.turn.history_tokens
        stays_together = bool(self.turn.task) and self.is_free(here)
        if there in self.outside or stays_together:
            tokens += self.turn.system_tokens
        return cost > tokens

    def way_out(self, here: str) -> str | None:
        """Return where to spill to from `here`; None: stay."""
        if self.has_room(here):
            return None
        cheaper = [r for r in self.order if r != here and self.is_cheaper(here, r)]
        roomy = next((r for r in cheaper if self.has_room(r)), None)
        if roomy is not None or self.is_free(here):
            return roomy
        return next((r for r in cheaper if self.is_free(r)), None)

    def _queued(self, replica: str) -> float:
        """Return the place in the engine's queue, behind its slots, of one more request."""
        load = self.loads[replica]
        return load.open + 1 - self.config.target_utilization * load.slots

    def _is_packed(self, replica: str) -> bool:
        return self.loads[replica].kv_utilization > self.config.kv_bound

    def placed(self, replica: str, outcome: Outcome) -> Placement:
        rest = [other for other in self.order if other != replica]
        return Placement([replica, *rest], outcome)

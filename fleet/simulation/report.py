"""What a simulated run was like: latencies, refusals, objectives, replicas, bill."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from fleet.simulation.pools.turns import Turns, TurnsRow
from fleet.simulation.spec import FleetSpec
from router.slo.judging import FIRST_TOKENS, End, Ended, judged
from router.slo.objectives import Objective
from simulator.virtual_time.report import quantile
from simulator.virtual_time.virtual import token_at

if TYPE_CHECKING:
    from fleet.simulation.gateway.request import Request

EXCUSED = frozenset({"context_length_exceeded", "model_not_allowed", "model_not_found"})
OWN_LIMITS = frozenset({"request_rate", "token_rate", "token_quota", "tenant_concurrency"})
"""Refusals by a tenant's own limits; objectives do not judge them."""

PERCENTILES = (50, 95, 99)


class Figures:
    """What is counted of one lane's requests of one tier."""

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.actions: Counter[str] = Counter()
        self.ttft, self.itl, self.duration = array("f"), array("f"), array("f")
        self.prompt_tokens = self.cached_tokens = self.completion_tokens = 0
        self.cost = 0.0
        self.judged: Counter[Objective] = Counter()
        self.missed: Counter[Objective] = Counter()


class Tally:
    """Counts requests as they end; those asked before `skip_s` count for nothing."""

    def __init__(self, spec: FleetSpec, skip_s: float) -> None:
        self.spec, self._skip_s = spec, skip_s
        self._token_cost, self._targets = spec.token_cost, spec.slo.of
        self.figures: dict[tuple[str, str], Figures] = {}
        self.by_tenant: Counter[tuple[str, str]] = Counter()
        self.turns = {
            x.lane.name: Turns(skip_s) for pool in spec.pools.values() for x in pool.lanes
        }

    def of(self, lane: str, tier: str) -> Figures:
        found = self.figures.get((lane, tier))
        if found is None:
            found = self.figures[lane, tier] = Figures()
        return found

    def refused(self, lane: str, tier: str, tenant: str, code: str, at: float) -> None:
        """Count a request that was refused before it had a place in a queue."""
        if at >= self._skip_s:
            self.of(lane, tier).codes[code] += 1
            self.by_tenant[tenant, code] += 1

    def passed(self, lane: str, waited_s: float, asked_at: float) -> None:
        """Count a request that was let through to a lane that shares its cards."""
        if asked_at >= self._skip_s:
            self.turns[lane].passed += 1
            if waited_s:
                self.turns[lane].waits.append(waited_s)

    def kept_out(self, lane: str, asked_at: float) -> None:
        """Count one that was refused as its lane was not awake in time."""
        if asked_at >= self._skip_s:
            self.turns[lane].kept_out += 1

    def resumed(self, lane: str, tier: str, action: str) -> None:
        """Count what was done for a request whose replica was lost."""
        self.of(lane, tier).actions[action] += 1

    def ended(self, request: Request, code: str, took_s: float, tokens: int) -> None:
        if request.asked_at < self._skip_s:
            return
        lane, tier = request.desk.name, request.spec.tier.name
        figures = self.of(lane, tier)
        figures.codes[code] += 1
        self.by_tenant[request.ask.tenant, code] += 1
        ttft, first_tokens = None, None
        if request.first_at is not None:
            ttft = request.first_at - request.asked_at
            prompt, cached = request.ask.prompt_tokens, request.cached_tokens
            figures.prompt_tokens += prompt
            figures.cached_tokens += cached
            figures.completion_tokens += tokens
            figures.cost += self._token_cost(lane, prompt, cached, tokens)
        if code == "200" and ttft is not None:
            figures.ttft.append(ttft)
            figures.duration.append(took_s)
            if tokens > 1:
                figures.itl.append((took_s - ttft) / (tokens - 1))
            first_tokens = self._first_tokens(request, tokens)
        self._judge(
            figures,
            lane,
            tier,
            Ended(
                _end_of(code),
                took_s,
                ttft,
                first_tokens,
                tokens,
                is_stream=True,
                is_timed=not request.ask.is_background,
            ),
        )

    @staticmethod
    def _first_tokens(request: Request, tokens: int) -> float | None:
        """Return when a stream had its first tokens; of one that was resumed it is not known."""
        attempt, replica = request.attempt, request.replica
        if tokens < FIRST_TOKENS or request.failovers or attempt is None or replica is None:
            return None
        return token_at(replica.engine, attempt, FIRST_TOKENS) - request.asked_at

    def _judge(self, figures: Figures, lane: str, tier: str, ended: Ended) -> None:
        for objective, is_kept in judged(ended, self._targets(lane, tier)):
            figures.judged[objective] += 1
            if not is_kept:
                figures.missed[objective] += 1


def _end_of(code: str) -> End:
    if code == "200":
        return End.ANSWERED
    return End.EXCUSED if code in EXCUSED or code in OWN_LIMITS else End.FAILED


@dataclass(frozen=True, slots=True)
class Row:
    """One lane's requests of one tier. Times are seconds; not a number where there were none.

    Attributes:
        codes: how many ended how: `200`, an error code, `broken`.
        recovered: what was done for requests whose replica was lost.
        misses: by objective, the share of the judged that missed its limit.
        slo_kept: whether each objective's misses are within its budget.
        cost: of the tokens, by the fleet's prices.

    """

    lane: str
    tier: str
    requests: int
    answered: int
    codes: dict[str, int]
    recovered: dict[str, int]
    percentiles: dict[str, float]
    prompt_tokens: int
    cached_ratio: float
    completion_tokens: int
    misses: dict[str, float]
    slo_kept: bool
    cost: float


@dataclass(frozen=True, slots=True)
class FleetReport:
    """What a run gave.

    Attributes:
        rows: one a lane and tier; lane `-`: refused before there was one.
        shed_order: verdicts on refusals of protected work; `violation` has to be 0.
        replicas: by lane, (time, replicas that serve, replicas that start) as they changed.
        card_hours: by lane, of replicas that serve, start or drain; by pool, of its cards.
        token_cost: of all tokens, by the fleet's prices; `card_cost`: of all card hours.
        by_tenant: requests by tenant and code.
        turns: by lane that shares its cards.

    """

    virtual_s: float
    rows: list[Row]
    shed_order: dict[str, int]
    replicas: dict[str, list[tuple[float, int, int]]]
    card_hours: dict[str, float]
    token_cost: float
    card_cost: float
    currency: str
    by_tenant: dict[str, dict[str, int]] = field(default_factory=dict)
    turns: dict[str, TurnsRow] = field(default_factory=dict)

    @property
    def violations(self) -> int:
        return self.shed_order.get("violation", 0)

    @property
    def slo_kept(self) -> bool:
        """Whether every objective of every lane and tier was kept."""
        return all(row.slo_kept for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values; what is not a number becomes None."""
        found: dict[str, Any] = _finite(asdict(self))
        return {**found, "slo_kept": self.slo_kept}


def rows_of(tally: Tally) -> list[Row]:
    """Return the rows of a run, by lane and tier."""
    return [_row(tally, lane, tier, x) for (lane, tier), x in sorted(tally.figures.items())]


def _row(tally: Tally, lane: str, tier: str, figures: Figures) -> Row:
    targets = tally.spec.slo.of(lane, tier)
    misses = {x: figures.missed[x] / n for x, n in figures.judged.items() if n}
    kept = all(share <= (targets.allowed_ratio(x) or 0.0) for x, share in misses.items())
    prompt = figures.prompt_tokens
    return Row(
        lane=lane,
        tier=tier,
        requests=figures.codes.total(),
        answered=figures.codes["200"],
        codes=dict(sorted(figures.codes.items())),
        recovered=dict(sorted(figures.actions.items())),
        percentiles={
            f"{name}_p{q}_s": value
            for name, values in (
                ("ttft", figures.ttft),
                ("itl", figures.itl),
                ("duration", figures.duration),
            )
            for q, value in _percentiles(values)
        },
        prompt_tokens=prompt,
        cached_ratio=figures.cached_tokens / prompt if prompt else math.nan,
        completion_tokens=figures.completion_tokens,
        misses={x.value: share for x, share in misses.items()},
        slo_kept=kept,
        cost=figures.cost,
    )


def _percentiles(values: Iterable[float]) -> list[tuple[int, float]]:
    ordered = sorted(values)
    return [(q, quantile(ordered, q / 100)) for q in PERCENTILES]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value

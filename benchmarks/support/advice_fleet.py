"""A lane of simulated engines in virtual time that is scraped, and faults staged on it.

What the triggers read is a Prometheus text, as of a deployment, every 15 virtual seconds; from
there on everything is the product's own code.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import dataclass
from random import Random

from router.advice.table import FLEET, Subject
from router.advice.trigger import Scope
from serve_app.advice.exposition import Scrape
from serve_app.advice.judging import Judging, firing
from serve_app.advice.signals import LaneShape, Signals
from serve_app.config.advice import AdviceConfig
from simulator.model.engine import BatchingEngine, Sequence
from simulator.model.profile import Profile
from simulator.virtual_time.fleet import Ask, _FleetRun
from simulator.virtual_time.virtual import _Conversation
from simulator.virtual_time.workload import Request, Session, Workload

PERIOD_S = 15.0
LANE = "chat"
FLOOD_TENANT = 999
SLOTS = 32
CHUNK = 512
EPOCH = 1_700_000_000.0


class _Sticky:
    """Every session has a replica for as long as it lives."""

    def choose(self, ask: Ask, live: Many[int], now: float) -> int:  # noqa: ARG002
        return live[ask.session % len(live)]

    def finished(self, ask: Ask, replica: int, now: float) -> None: ...

    def tick(self, now: float) -> None: ...


@dataclass(frozen=True)
class Staged:
    """One run: traffic, and what goes wrong at `at_s`.

    Attributes:
        rate: sessions a second at a time.
        slowdown: of every engine's steps from then on.
        is_cold: each prompt begins with something new from then on.
        flood: sessions of one tenant that ask without a pause from then on.
        tools: the lane is the one for tools.

    """

    rate: Callable[[float], float]
    replicas: int = 1
    at_s: float = math.inf
    slowdown: float = 1.0
    is_cold: bool = False
    flood: int = 0
    tools: bool = False


class StagedRun(_FleetRun):
    """Drives one run, and hands a text to `on_text` every `PERIOD_S`."""

    def __init__(
        self,
        staged: Staged,
        profile: Profile,
        workload: Workload,
        random: Random,
        duration_s: float,
        on_text: Callable[[float, str], None],
    ) -> None:
        scheduling = profile.scheduling.model_copy(
            update={"max_num_seqs": SLOTS, "long_prefill_token_threshold": CHUNK}
        )
        timing = profile.timing.model_copy(update={"warm_up_s": 0.0})
        engines = [
            BatchingEngine(timing, scheduling, keeps_step_times=True)
            for _ in range(staged.replicas)
        ]
        super().__init__(profile, workload, random, duration_s, 0.0, engines, _Sticky())
        self.staged = staged
        self._on_text = on_text
        self._count: defaultdict[str, float] = defaultdict(float)
        self._names = 0
        self._is_cold = False
        self._told: dict[Sequence, tuple[int, float]] = {}

    def begin(self) -> None:
        self._at(PERIOD_S, self._tick)
        self._arrive_at_rate(0.0)
        if self.staged.at_s < math.inf:
            self._at(self.staged.at_s, self._go_wrong)

    def drive(self) -> None:
        """Run to the end; arrivals are planned already."""
        self.begin()
        self.run(0, None)
        self._is_closed = False

    def _arrive_at_rate(self, now: float) -> None:
        most = 4.0

        def arrive(at: float) -> None:
            # Thinning: a rate that changes, by Poisson arrivals at its upper bound.
            if self._random.random() < self.staged.rate(at) / most:
                self._start(at)
            self._arrive_at_rate(at)

        self._at(now + self._random.expovariate(most), arrive)

    def _go_wrong(self, now: float) -> None:
        for engine in self._engines:
            engine.slowdown = self.staged.slowdown
        self._is_cold = self.staged.is_cold
        for number in range(self.staged.flood):
            self._flood(now + 0.1 * number)

    def _flood(self, now: float) -> None:
        self._names += 1
        turns = [[[Request("turn", 300, 1200)]]]
        session = Session(10_000_000 + self._names, FLOOD_TENANT, False, turns)
        self._begin_stage(_Conversation(session, self._workload.system_tokens, begun=now), now)

    def _go_on(self, talk: _Conversation, now: float) -> None:
        if talk.stage == len(self._workload.stages) - 1:
            self._count["turns"] += 1
            self._count["turns_fast"] += now - talk.turn_begun <= 5.0
        if talk.session.tenant == FLOOD_TENANT:
            self._at(now, self._flood)
            return
        self._is_closed = False
        super()._go_on(talk, now)

    def _sequence(self, talk: _Conversation, request: Request, number: int) -> Sequence:
        made = super()._sequence(talk, request, number)
        if self._is_cold:
            self._names += 1
            own = (1 << 90) + (self._names << 24)
            made.block_key = lambda index: own + index
        return made

    def _note(
        self,
        talk: _Conversation,
        request: Request,  # noqa: ARG002
        sequence: Sequence,
        begun: float,
    ) -> None:
        first, finished = sequence.first_token_at, sequence.finished_at
        assert first is not None
        assert finished is not None
        ttft = first - begun
        tenant = f"t{talk.session.tenant}"
        add = self._count
        add["ttft"] += 1
        add["ttft_fast"] += ttft <= 1.0
        self._note_gaps(sequence, first, sequence.output_tokens, finished)
        self._told.pop(sequence, None)
        add["cached"] += sequence.cached_tokens
        add["read"] += sequence.prompt_tokens - sequence.cached_tokens
        add[f"prompt {tenant}"] += sequence.prompt_tokens
        add[f"cached {tenant}"] += sequence.cached_tokens
        add[f"completion {tenant}"] += sequence.output_tokens

    def _note_gaps(self, sequence: Sequence, first: float, tokens: int, now: float) -> None:
        """Count the tokens of a stream since it was looked at last, at their mean pace."""
        known, since = self._told.get(sequence, (1, first))
        gaps, took = tokens - known, now - since
        self._told[sequence] = tokens, now
        self._count["gap_s"] += took
        self._count["gaps"] += gaps
        self._count["gaps_fast"] += gaps if gaps and took / gaps <= 0.012 else 0

    def _tick(self, now: float) -> None:
        for sequence in self._owners:
            first = sequence.first_token_at
            if first is not None:
                tokens = self._engine_of(sequence).generated(sequence)
                self._note_gaps(sequence, first, tokens, now)
        self._on_text(now, self._text())
        self._at(now + PERIOD_S, self._tick)

    def _text(self) -> str:
        c, lines = self._count, []
        sessions = {talk.session.number for talk, _, _ in self._owners.values()}
        for number, engine in enumerate(self._engines):
            of = f'lane="{LANE}",replica="r{number}"'
            lines += [
                f"vllm:num_requests_running{{{of}}} {engine.running}",
                f"vllm:num_requests_waiting{{{of}}} {engine.waiting}",
                f"vllm:kv_cache_usage_perc{{{of}}} {engine.utilization()}",
                f"vllm:num_preemptions_total{{{of}}} {engine.preemptions}",
            ]
        of = f'lane="{LANE}"'
        lines += [
            f'vllm:time_to_first_token_seconds_bucket{{{of},le="1.0"}} {c["ttft_fast"]}',
            f"vllm:time_to_first_token_seconds_count{{{of}}} {c['ttft']}",
            f"vllm:inter_token_latency_seconds_sum{{{of}}} {c['gap_s']}",
            f"vllm:inter_token_latency_seconds_count{{{of}}} {c['gaps']}",
            f'pointsman_inter_token_latency_seconds_bucket{{{of},le="0.012"}} {c["gaps_fast"]}',
            f"pointsman_inter_token_latency_seconds_count{{{of}}} {c['gaps']}",
            f'pointsman_prompt_tokens_total{{{of},level="device"}} {c["cached"]}',
            f'pointsman_prompt_tokens_total{{{of},level="recomputed"}} {c["read"]}',
            f"pointsman_active_sessions{{{of}}} {len(sessions)}",
            f'pointsman_turn_seconds_bucket{{{of},le="5.0"}} {c["turns_fast"]}',
            f"pointsman_turn_seconds_count{{{of}}} {c['turns']}",
        ]
        for name, value in c.items():
            kind, _, tenant = name.partition(" ")
            if tenant:
                lines.append(f'pointsman_tokens_total{{kind="{kind}",tenant="{tenant}"}} {value}')
        return "\n".join(lines) + "\n"


def subjects_of(replicas: int, *, tools: bool = False) -> list[Subject]:
    """The lane as the default one (or that for tools) of a fleet, whose tiers have no ceilings."""
    facts = {
        "lane": LANE,
        "replicas": replicas,
        "more": replicas + 1,
        "fewer": replicas - 1,
        "max_num_seqs": SLOTS,
        "fewer_seqs": 24,
        "tier": "free",
        "contended_from": 40,
        "has_prefix_cache": True,
    }
    scopes = frozenset({Scope.EACH, Scope.TOOLS if tools else Scope.DEFAULT})
    return [Subject(LANE, scopes, facts), Subject(FLEET, frozenset({Scope.FLEET}), facts)]


def judged(
    staged: Staged, profile: Profile, workload: Workload, seed: int, duration_s: float
) -> dict[str, float]:
    """When each trigger fired first, in virtual seconds."""
    config = AdviceConfig(period_s=PERIOD_S)
    judging = Judging(config, subjects_of(staged.replicas, tools=staged.tools))
    signals = Signals()
    shape = {LANE: LaneShape(staged.replicas, SLOTS, 8192, profile, CHUNK)}
    fired: dict[str, float] = {}

    def on_text(now: float, text: str) -> None:
        values = signals.take(Scrape(text), PERIOD_S, shape)
        if values:
            judging.add(PERIOD_S, EPOCH + now, values)
            for name in firing(judging.rows()):
                fired.setdefault(name, now)

    run = StagedRun(staged, profile, workload, Random(seed), duration_s, on_text)
    run.drive()
    return fired

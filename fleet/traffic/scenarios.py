"""Scenarios: traffic and incidents for a fleet, as YAML files under configs/scenarios/."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from fleet.simulation.pools.faults import KINDS
from fleet.simulation.spec import FleetSpec
from fleet.simulation.world import Incident
from fleet.traffic.sessions import Curve, Sessions, diurnal
from router.scaling.forecast import SLOTS, STEP_S
from simulator import strict_yaml
from simulator.home import configs
from simulator.model.profile import Strict, named_file
from simulator.virtual_time.workload import load_workload

SCENARIOS = configs("scenarios")


class Day(Strict):
    """Requests a second that swing once a day: `trough` at its beginning, `peak` in its middle."""

    peak: float = Field(gt=0)
    trough: float = Field(ge=0)


class Stream(Strict):
    """Sessions of one workload and one tier. Exactly one of the first three says how many.

    Attributes:
        active: closed loop: so many sessions at any time.
        requests_per_s: open loop: (seconds, requests a second), linear between the points.
        day: open loop: a day's swing.
        workload: name or file.
        prefix: of its tenants' names.
        tenants, tenant_skew: other than the workload's.
        limit: the most that each request asks for.

    """

    active: int | None = Field(None, ge=1)
    requests_per_s: list[tuple[float, float]] | None = Field(None, min_length=1)
    day: Day | None = None
    workload: str = "saas"
    tier: str
    prefix: str = "tenant"
    tenants: int | None = Field(None, ge=1)
    tenant_skew: float | None = Field(None, ge=0)
    limit: int | None = Field(None, ge=1)
    from_s: float = Field(0, ge=0)
    until_s: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _one_rate(self) -> Self:
        given = (self.active, self.requests_per_s, self.day)
        if sum(x is not None for x in given) != 1:
            raise ValueError("give one of active, requests_per_s and day")
        return self

    def curve(self, cell: float) -> Curve | None:
        """Return the requests a second of one cell of so many; None: a closed loop."""
        if self.day is not None:
            return diurnal(self.day.peak / cell, self.day.trough / cell)
        if self.requests_per_s is None:
            return None
        return Curve(tuple((at, rate / cell) for at, rate in self.requests_per_s))


class IncidentConfig(Strict):
    """Something that happens to a lane.

    Attributes:
        lane: its name, or a role of the fleet's routing: default, complex, tools.
        replicas: how many; null: all.
        for_s: how long they are away, or wakings of a lane that shares its cards fail.

    """

    at_s: float = Field(ge=0)
    kind: Literal["lose", "redeploy", "wake_fails", "wake_hangs"]
    lane: str = "default"
    replicas: int | None = Field(None, ge=1)
    for_s: float = Field(60, gt=0)


class Before(Strict):
    """What the history has of the days before a run, all of them alike.

    Attributes:
        requests_per_s: by lane or role, (seconds after the time of day at which the run begins,
            requests a second), linear between the points.

    """

    days: int = Field(7, ge=1, le=14)
    requests_per_s: dict[str, list[tuple[float, float]]] = Field(min_length=1)

    def history(self, spec: FleetSpec) -> dict[str, list[float]]:
        """Return each lane's rates, five minutes by five. Raises ValueError for no such lane."""
        return {
            _lane(role, spec): [
                Curve(tuple(points)).at(STEP_S * (slot + 0.5)) for slot in range(SLOTS)
            ]
            * self.days
            for role, points in self.requests_per_s.items()
        }


class Scenario(Strict):
    """One scenario.

    Attributes:
        source: where its figures come from, and which are assumed.
        duration_s: of the run; requests asked before `skip_s` are not reported.
        cell: traffic is divided by it: the fleet that is simulated is one of so many alike.
        replicas: by lane or role, how many in place of the fleet's.
        fleet, tenants: files beside the scenario's that it is made for, if any.
        card: that this fleet's lanes are on where their bundles name none.
        before: what the lanes that share cards had to do on the days before, for forecasts.

    """

    name: str
    source: str
    duration_s: float = Field(gt=0)
    skip_s: float = Field(60, ge=0)
    cell: float = Field(1, ge=1)
    replicas: dict[str, int] = Field(default_factory=dict)
    fleet: str | None = None
    tenants: str | None = None
    card: str | None = None
    traffic: list[Stream] = Field(min_length=1)
    incidents: list[IncidentConfig] = Field(default_factory=list)
    before: Before | None = None

    def sources(self, seed: int, sticky_turns: int = 3) -> list[Sessions]:
        """Return its traffic. Raises FileNotFoundError for a workload that is not there."""
        return [
            self._source(number, stream, seed, sticky_turns)
            for number, stream in enumerate(self.traffic)
        ]

    def _source(self, number: int, stream: Stream, seed: int, sticky_turns: int) -> Sessions:
        workload = load_workload(stream.workload)
        own = {"tenants": stream.tenants, "tenant_skew": stream.tenant_skew}
        own = {name: value for name, value in own.items() if value is not None}
        workload = workload.model_copy(update=own)
        active = None if stream.active is None else max(1, round(stream.active / self.cell))
        return Sessions(
            workload,
            stream.tier,
            seed,
            stream.curve(self.cell),
            active,
            stream.prefix,
            stream.limit,
            begin_s=stream.from_s,
            end_s=math.inf if stream.until_s is None else stream.until_s,
            number=number,
            sticky_turns=sticky_turns,
        )

    def sized(self, spec: FleetSpec) -> FleetSpec:
        """Return the fleet with the scenario's replicas. Raises ValueError for no such lane."""
        lanes = dict(spec.lanes)
        for role, count in self.replicas.items():
            name = _lane(role, spec)
            lanes[name] = replace(lanes[name], replicas=count, scaling=None)
        return replace(spec, lanes=lanes)

    def remembering(self, spec: FleetSpec) -> FleetSpec:
        """Return the fleet with the history of the days before. Raises ValueError as `sized`."""
        return spec if self.before is None else replace(spec, history=self.before.history(spec))

    def happenings(self, spec: FleetSpec) -> list[Incident]:
        """Return its incidents on this fleet's lanes.

        Raises ValueError for one without a lane, or that its lane cannot have.
        """
        found = [
            Incident(x.at_s, x.kind, _lane(x.lane, spec), x.replicas, x.for_s)
            for x in self.incidents
        ]
        pooled = {x.lane.name for pool in spec.pools.values() for x in pool.lanes}
        for one in found:
            if (one.kind in KINDS) != (one.lane in pooled):
                which = "shares its cards" if one.lane in pooled else "shares no cards"
                raise ValueError(f"lane '{one.lane}' {which}: no {one.kind} is simulated there")
        return found


def _lane(name: str, spec: FleetSpec) -> str:
    if name in spec.lanes:
        return name
    routing = spec.routing
    stronger = routing.stronger[-1].lane if routing.stronger else None
    found = {"default": routing.default, "complex": stronger, "tools": routing.tools}.get(name)
    if found is None:
        raise ValueError(f"the fleet has no lane or role '{name}' (lanes: {', '.join(spec.lanes)})")
    return found


def scenario_path(name_or_path: str) -> Path:
    """Where a scenario lies: a shipped one by name, or any file.

    Raises FileNotFoundError.
    """
    return named_file(name_or_path, SCENARIOS, "scenario")


def load_scenario(name_or_path: str) -> Scenario:
    """A scenario. Raises FileNotFoundError, yaml.YAMLError or pydantic's ValidationError."""
    return Scenario.model_validate(strict_yaml.load(scenario_path(name_or_path).read_text()))

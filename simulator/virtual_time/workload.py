"""Who talks to the fleet, and how: sessions of turns, drawn at random.

Pure: the random source is passed in. The same workload drives the engine in virtual
time (`simulator.virtual_time.virtual`) and a real deployment over HTTP (`simulator.client.load`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random

from pydantic import Field

from simulator import strict_yaml
from simulator.home import configs
from simulator.model.profile import Strict, named_file
from simulator.virtual_time.users import Promise, Users

WORKLOADS = configs("workloads")


class Length(Strict):
    """A length in tokens: log-normal around `mean`, never below `least` or above `most`.

    Attributes:
        sigma: standard deviation of the logarithm; 0: always `mean`.

    """

    mean: float = Field(gt=0)
    sigma: float = Field(0, ge=0, le=3)
    least: int = Field(1, ge=1)
    most: int = Field(100_000, ge=1)

    def draw(self, random: Random) -> int:
        if not self.sigma:
            return round(self.mean)
        drawn = random.lognormvariate(math.log(self.mean) - self.sigma**2 / 2, self.sigma)
        return min(self.most, max(self.least, round(drawn)))


class Stage(Strict):
    """One round of requests within a turn.

    Attributes:
        name: what the report calls it.
        requests: how many run at once.
        input: new tokens that each request brings.
        output: tokens of each answer.
        wait_s: time after the last answer before the next stage (a tool's work).

    """

    name: str = "turn"
    requests: int = Field(1, ge=1)
    input: Length
    output: Length
    wait_s: float = Field(0, ge=0)


class Workload(Strict):
    """One kind of traffic.

    Attributes:
        source: where the figures come from, and which are assumed.
        tenants: number of tenants; sessions belong to one at random, by Zipf's law.
        tenant_skew: exponent of that law; 0: all alike.
        system_tokens: length of each tenant's system prompt.
        turns: mean user turns of a session (1 + Poisson).
        think_s: mean pause between turns (exponential).
        stages: what happens in one turn.
        tools: how many tool definitions each request carries (over HTTP only).
        complex_share: share of sessions whose first question is a complex one.
        users: how many they are, for `pointsman plan`.
        promise: the SLO that it plans for.

    """

    name: str
    source: str
    tenants: int = Field(ge=1)
    tenant_skew: float = Field(1.0, ge=0)
    system_tokens: int = Field(ge=0)
    turns: float = Field(ge=1)
    think_s: float = Field(ge=0)
    stages: list[Stage] = Field(min_length=1)
    tools: int = Field(0, ge=0, le=64)
    complex_share: float = Field(0, ge=0, le=1)
    users: Users | None = None
    promise: Promise = Promise()


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a turn: new tokens in, tokens out."""

    stage: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Session:
    """One conversation as it will go: a tenant, and turns of stages of requests."""

    number: int
    tenant: int
    is_complex: bool
    turns: list[list[list[Request]]]


def sessions(workload: Workload, random: Random) -> Iterator[Session]:
    """Sessions without end."""
    tenants = range(workload.tenants)
    weights = list(accumulate(1 / (rank + 1) ** workload.tenant_skew for rank in tenants))
    number = 0
    while True:
        tenant = random.choices(tenants, cum_weights=weights)[0]
        is_complex = random.random() < workload.complex_share
        count = 1 + _poisson(workload.turns - 1, random)
        yield Session(number, tenant, is_complex, [_turn(workload, random) for _ in range(count)])
        number += 1


def _turn(workload: Workload, random: Random) -> list[list[Request]]:
    return [
        [
            Request(stage.name, stage.input.draw(random), stage.output.draw(random))
            for _ in range(stage.requests)
        ]
        for stage in workload.stages
    ]


def _poisson(mean: float, random: Random) -> int:
    """0, 1, 2… with the given mean: arrivals of a unit-rate process before `mean`."""
    count, passed = 0, random.expovariate(1)
    while passed < mean:
        count += 1
        passed += random.expovariate(1)
    return count


def workload_path(name_or_path: str) -> Path:
    """Where a workload lies: a shipped one by name, or any file.

    Raises FileNotFoundError.
    """
    return named_file(name_or_path, WORKLOADS, "workload")


def load_workload(name_or_path: str) -> Workload:
    """A workload. Raises FileNotFoundError, yaml.YAMLError or pydantic's ValidationError."""
    return Workload.model_validate(strict_yaml.load(workload_path(name_or_path).read_text()))

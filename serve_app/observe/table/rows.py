"""What a row of the table is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

Severity = Literal["page", "ticket"]
"""`page`: somebody is to look now; `ticket`: within the day."""


class Needs(Enum):
    """What has to be there before a panel or a recorded series has data.

    Tests run the queries of TRAFFIC against deployments; those of the others against a
    recorded text, since no test can have a hot card.
    """

    TRAFFIC = "requests that were answered"
    EVENT = "something of the kind that happened"
    CARD = "a GPU"
    VLLM = "a real engine on a GPU"


@dataclass(frozen=True)
class Recording:
    """A recording rule: `name` is level:metric:operation."""

    name: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)
    needs: Needs = Needs.TRAFFIC


@dataclass(frozen=True)
class Alert:
    """An alert rule; its runbook is docs/runbooks/NAME.md.

    Attributes:
        lasts: how long the expression has to hold, as Prometheus writes it; "0s": at once.
        summary: what is wrong, with the labels and the value of the alert.
        action: the first thing to do.
        source: where threshold and duration come from.

    """

    name: str
    expr: str
    lasts: str
    severity: Severity
    summary: str
    action: str
    source: str


@dataclass(frozen=True)
class Query:
    """One query of a panel; `legend` may name labels in double braces."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        means: what it shows and what to do about it: its description.
        unit: Grafana's id of the unit.
        marks: values from which it is yellow, and red; one value: red.
        alerts: alerts whose runbooks it links to.

    """

    title: str
    means: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Literal["timeseries", "stat", "bargauge"] = "timeseries"
    marks: tuple[float, ...] = ()
    alerts: tuple[str, ...] = ()
    needs: Needs = Needs.TRAFFIC
    width: int = 8
    low_is_bad: bool = False


@dataclass(frozen=True)
class Dashboard:
    """One dashboard: rows of panels under a heading each."""

    name: str
    title: str
    means: str
    rows: Mapping[str, tuple[Panel, ...]]
    variables: tuple[Literal["lane", "tenant"], ...] = ()

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for panels in self.rows.values() for panel in panels)

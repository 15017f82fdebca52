"""What the operators' routes say of advice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client import Gauge

from router.advice.table import TRIGGERS
from serve_app.advice.adviser import Adviser
from serve_app.advice.history import History
from serve_app.config.settings import state_dir
from serve_app.pipeline.state import IngressState
from serve_app.tenancy.store import TenancyStore
from serve_app.transport.broadcast import Broadcast

ESCALATION = "escalation_share"
"""The trigger that each ingress replica also raises at once, by its own count."""


class AdviceView:
    """Rows, names and gauges of an adviser; of none: nothing fires but by the alarm."""

    def __init__(self, adviser: Adviser | None = None) -> None:
        self._adviser = adviser

    @property
    def shown(self) -> list[dict[str, Any]]:
        """Return the rows that fire or have too little data."""
        return [] if self._adviser is None else self._adviser.shown

    def triggers_firing(self, alarm: bool) -> list[str]:  # noqa: FBT001 - a reading
        """Return the names of what fires; `alarm`: of the escalation share, as counted here."""
        names = [] if self._adviser is None else self._adviser.firing
        return [ESCALATION, *names] if alarm and ESCALATION not in names else names

    def set_gauges(self, gauge: Gauge, alarm: bool) -> None:  # noqa: FBT001 - a reading
        """Set one for each trigger of the table; `alarm` as above."""
        fires = set(self.triggers_firing(alarm))
        names = [ESCALATION] if self._adviser is None else [x.name for x in TRIGGERS]
        for name in names:
            gauge.labels(name).set(name in fires)

    def told(self) -> dict[str, Any]:
        """Return all rows, also of what is well, and when they were judged."""
        if self._adviser is None:
            return {"enabled": False, "at": None, "rows": []}
        return {
            "enabled": True,
            "at": self._adviser.at,
            "writes": self._adviser.is_writer,
            "period_s": self._adviser.period_s,
            "rows": self._adviser.rows,
        }


def no_advice() -> AdviceView:
    """Return the view before there is an adviser."""
    return AdviceView()


def build_adviser(
    state: IngressState,
    metrics_text: Callable[[], Awaitable[str]],
    broadcast: Broadcast,
    store: TenancyStore,
) -> Adviser | None:
    """Return the adviser of an ingress replica; None: the fleet file has it off."""
    config = state.policies.fleet.advice
    if not config.enabled:
        return None
    history = History(state_dir() / config.path, config)
    return Adviser(state, history, metrics_text, broadcast, store)

"""The experiments that run, in one ingress replica: arms for requests, counts of how they ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from router.experiments.experiment import (
    CONTROL,
    TREATMENT,
    Kind,
    arms_of,
    shadows_of,
)
from router.experiments.guard import Costs, Tally, breach
from router.experiments.slowness import breach_of_ratios, bucket, times_of
from router.slo.judging import End, Ended, judged
from router.types import Arm, LaneDecision
from serve_app.config.experiments import ExperimentConfig
from serve_app.config.files import wall_s
from serve_app.config.fleet import FleetConfig
from serve_app.experiments.store import Cell, Counts, Stop
from serve_app.experiments.terms import Terms, terms_of
from serve_app.tenancy.auth import Tenant

SHADOW = "shadow"
_UP_TO = "<"
"""In the names of counts by bucket: `ttft_ratio<40`."""
COMPARED = CONTROL, TREATMENT


class ExperimentBook:
    """Owned by the event loop; `keeping` brings it together with the file and the peers.

    Args:
        fleet: the fleet file as it is now.
        clock: seconds since 1970, the same on all nodes: arms of a switchback go by it.

    """

    def __init__(self, fleet: FleetConfig, clock: Callable[[], float] = wall_s) -> None:
        self._clock = clock
        self._fresh: Counts = {}
        self._totals: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
        self.stops: dict[str, Stop] = {}
        """By key, of whatever file there ever was."""
        self.apply(fleet)

    def apply(self, fleet: FleetConfig) -> None:
        """Use another fleet file from now on."""
        self.applied = self._clock()
        self._fleet = fleet
        self.terms = terms_of(fleet)
        self._by_name = {x.config.name: x for x in self.terms}
        self._experiments = tuple(x.experiment for x in self.terms)
        self._note_stopped()

    def __bool__(self) -> bool:
        return bool(self.terms)

    # -- requests -------------------------------------------------------------

    def arms(self, session: str, tenant: Tenant) -> tuple[Arm, ...]:
        """Return the arms of a session of a tenant's, by its key across tenants."""
        if not self.terms:
            return ()
        name, tier, now = tenant.name, tenant.tier_name, self._clock()
        return arms_of(self._experiments, self._stopped, session, name, tier, now)

    def shadows(self, request: str, tenant: Tenant, lane: str) -> list[ExperimentConfig]:
        """Return the experiments that want a copy of a request to this lane."""
        if not self.terms:
            return []
        name, tier, now = tenant.name, tenant.tier_name, self._clock()
        wanted = shadows_of(self._experiments, self._stopped, request, name, tier, lane, now)
        return [self._by_name[x.name].config for x in wanted]

    def settle(
        self, decision: LaneDecision, ended: Ended, ttft_s: float | None, tokens: tuple[int, ...]
    ) -> bool:
        """Count how a request ended; `tokens`: prompt, cached and completion, as counted.

        Returns whether it counts: that of an experiment which is no more, or one that was
        refused for what its client sent, does not.
        """
        terms = self._by_name.get(decision.experiment or "")
        if terms is None or decision.arm is None or ended.end is End.EXCUSED:
            return False
        arm, counts = decision.arm, {"requests": 1.0, f"ended:{ended.end.value}": 1.0}
        for objective, is_good in judged(ended, terms.targets):
            counts[f"{'good' if is_good else 'bad'}:{objective.value}"] = 1.0
        for rail, seconds in times_of(ended).items():
            if (ratio := terms.rails.ratios.get(rail)) is not None:
                number = bucket(seconds / (ratio if arm == TREATMENT else 1.0))
                counts[f"{rail}{_UP_TO}{number}"] = 1.0
        if ttft_s is not None:
            counts |= {"streams": 1.0, "ttft_s": ttft_s}
        if tokens:
            cost = self._fleet.prices.cost(decision.lane.name, *tokens)
            counts |= {"prompt_tokens": tokens[0], "completion_tokens": tokens[2]}
            counts |= {"costed": 1.0, "cost": cost, "cost_squared": cost * cost}
        self.count(terms.config.name, arm, counts)
        return True

    def count(self, name: str, arm: str, counts: Mapping[str, float]) -> None:
        """Count something of an experiment that there may be no more."""
        terms = self._by_name.get(name)
        if terms is None:
            return
        day = terms.day_of(self._clock())
        for what, value in counts.items():
            cell = Cell(terms.key, arm, day, what)
            self._fresh[cell] = self._fresh.get(cell, 0.0) + value

    # -- what is known of it together -------------------------------------------

    def take_fresh(self) -> Counts:
        """Return what was counted since the last time, for the file."""
        taken, self._fresh = self._fresh, {}
        return taken

    def give_back(self, counts: Counts) -> None:
        """Take back what could not be written."""
        for cell, value in counts.items():
            self._fresh[cell] = self._fresh.get(cell, 0.0) + value

    def take_totals(self, totals: Counts) -> None:
        """Take in what all ingress replicas have counted, as far as is known."""
        self._totals = {}
        for cell, value in totals.items():
            days = self._totals.setdefault((cell.key, cell.arm), {})
            days.setdefault(cell.day, {})[cell.name] = value

    def learn(self, stops: Mapping[str, Stop]) -> None:
        """Take in what was stopped, here or elsewhere."""
        for key, stop in stops.items():
            self.stops.setdefault(key, stop)
        self._note_stopped()

    def judge(self) -> dict[str, Stop]:
        """Return the treatments that have to stop and run still."""
        now, found = self._clock(), {}
        for terms in self.terms:
            if terms.key in self.stops or not terms.config.begins <= now < terms.config.ends:
                continue
            why = self._breach(terms, now)
            if why is not None:
                found[terms.key] = Stop(why, now)
        return found

    def _breach(self, terms: Terms, now: float) -> str | None:
        if terms.experiment.kind is Kind.SHADOW:
            return None
        day = terms.day_of(now)
        today = {arm: self._totals.get((terms.key, arm), {}).get(day, {}) for arm in COMPARED}
        counts = today[TREATMENT]
        tallies = {
            rail: Tally(int(counts.get(f"good:{rail}", 0)), int(counts.get(f"bad:{rail}", 0)))
            for rail in terms.rails.allowed
        }
        costs = {arm: _costs(self._of(terms.key, arm)) for arm in COMPARED}
        times = {
            rail: {arm: _times(rail, today[arm]) for arm in COMPARED} for rail in terms.rails.ratios
        }
        return breach(terms.rails, tallies, costs) or breach_of_ratios(terms.rails, times)

    def _of(self, key: str, arm: str) -> dict[str, float]:
        """Return an arm's counts of all days."""
        found: dict[str, float] = {}
        for counts in self._totals.get((key, arm), {}).values():
            for name, value in counts.items():
                found[name] = found.get(name, 0.0) + value
        return found

    def _note_stopped(self) -> None:
        self._stopped = frozenset(x.config.name for x in self.terms if x.key in self.stops)

    # -- what is told -----------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """Return how each experiment stands, without what was rated."""
        return [self._row(terms) for terms in self.terms]

    def _row(self, terms: Terms) -> dict[str, Any]:
        config, stop = terms.config, self.stops.get(terms.key)
        arms: Iterable[str] = (SHADOW,) if config.kind == SHADOW else COMPARED
        return {
            "name": config.name,
            "kind": config.kind,
            "control": config.control,
            "treatment": config.treatment,
            "share": config.share,
            "metric": config.metric,
            "alpha": config.alpha,
            "smallest": config.smallest,
            "state": self._state(terms),
            "stopped_why": None if stop is None else stop.why,
            "stopped_at": None if stop is None else stop.at,
            "begins": config.begins,
            "ends": config.ends,
            "arms": {arm: _told(self._of(terms.key, arm)) for arm in arms},
        }

    def _state(self, terms: Terms) -> str:
        now = self._clock()
        if now >= terms.config.ends:
            return "ended"
        if terms.key in self.stops:
            return "stopped"
        return "running" if now >= terms.config.begins else "waiting"


def _costs(counts: Mapping[str, float]) -> Costs:
    n = int(counts.get("costed", 0))
    return Costs(n, counts.get("cost", 0.0), counts.get("cost_squared", 0.0))


def _times(rail: str, counts: Mapping[str, float]) -> dict[int, float]:
    """Return an arm's times by bucket."""
    head = rail + _UP_TO
    return {int(x.removeprefix(head)): n for x, n in counts.items() if x.startswith(head)}


def _told(counts: Mapping[str, float]) -> dict[str, Any]:
    """An arm's counts, with means in place of sums that nobody reads."""
    told: dict[str, Any] = {x: n for x, n in counts.items() if _UP_TO not in x}
    told.pop("cost_squared", None)
    costed, streams = told.pop("costed", 0), told.pop("streams", 0)
    copies = counts.get("answered", 0)
    if costed:
        told["cost_mean"] = told.pop("cost") / costed
    if streams:
        told["ttft_mean_s"] = told.pop("ttft_s") / streams
    if copies:
        told["duration_mean_s"] = told.pop("duration_s") / copies
        told["control_duration_mean_s"] = told.pop("control_duration_s") / copies
    return told

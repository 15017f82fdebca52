"""Traces against a candidate classifier or policy: decisions alone, no engine is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from classifier.artifact import DEFAULT_ARTIFACT, load_artifact
from evals.replay.classifiers import Moves, moves
from evals.traces.trace import Trace
from router.errors import Rejected
from router.routing.lane import decide_lane
from router.routing.levels import LevelView
from router.routing.policy import Judgement, RoutingPolicy
from router.tokens import TokenEstimator
from router.types import LaneDecision, RequestFacts
from serve_app.agents.background import background_of
from serve_app.bodies.images import has_images
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.commands.client import CommandError
from serve_app.commands.named_files import named_fleet, named_tenants
from serve_app.commands.rescoring import parsed_of, score_of
from serve_app.config.fleet import FleetConfig
from serve_app.config.settings import load_fleet, load_tenants
from serve_app.routing.languages import Languages, languages_of
from serve_app.routing.policies import levels_of, planning_of, routing_of

REFUSED = "(refused)"
MOST_NAMED = 20


@dataclass
class Read:
    """Traces whose bodies the product's own parser reads, and how many it does not."""

    rows: list[tuple[Trace, ParsedRequest]] = field(default_factory=list)
    unread: int = 0


def read(traces: Iterable[Trace]) -> Read:
    """Parse the bodies of traces as the ingress would."""
    found = Read()
    for trace in traces:
        parsed = parsed_of(trace)
        if parsed is None:
            found.unread += 1
        else:
            found.rows.append((trace, parsed))
    return found


# -- a classifier -------------------------------------------------------------


def against_classifier(traces: Iterable[Trace], folder: Path, share: float) -> dict[str, Any]:
    """Say which requests a classifier would send up that the one in force does not."""
    candidate = load_artifact(folder).scorer()
    shipped = load_artifact(DEFAULT_ARTIFACT).scorer()
    rows = [(trace, x) for trace, x in read(traces).rows if x.prompt.users]
    if not rows:
        raise CommandError("no trace has a user's turn to score")
    versions = {trace.classifier for trace, _ in rows if trace.score is not None}
    if len(versions) > 1:
        told = ", ".join(sorted(str(x) for x in versions))
        raise CommandError(f"the traces have scores of several classifiers ({told}): choose days")
    # Those that were never scored have none of it: then one classifier scores all anew.
    is_whole = all(trace.score is not None for trace, _ in rows)
    before = [float(trace.score or 0.0) if is_whole else score_of(shipped, x) for trace, x in rows]
    after = [score_of(candidate, x) for _, x in rows]
    found = moves(before, after, share)
    return {
        "candidate": candidate.version,
        "incumbent": next(iter(versions)) if is_whole else shipped.version,
        **_moved(found, [trace for trace, _ in rows]),
    }


def _moved(found: Moves, traces: Sequence[Trace]) -> dict[str, Any]:
    return {
        "requests": found.requests,
        "share": found.share,
        "up_with_both": found.both,
        "moved_up": len(found.up),
        "moved_down": len(found.down),
        "rank_correlation": found.rank_correlation,
        "first_up": [traces[x].request_id for x in found.up[:MOST_NAMED]],
        "first_down": [traces[x].request_id for x in found.down[:MOST_NAMED]],
    }


# -- a policy -----------------------------------------------------------------


def against_policy(traces: Iterable[Trace], fleet: str, tenants: str | None) -> dict[str, Any]:
    """Say which lane each request would go to under another fleet file.

    Scores are the recorded ones; a level's threshold is the score that its share of the scored
    requests reaches. Room, budgets and breakers are not there: all lanes are idle.
    """
    policy = Policy.of(load_fleet(named_fleet(fleet)))
    rules = load_tenants(named_tenants(tenants))
    known = read(traces)
    policy.set_thresholds([x.score for x, _ in known.rows if x.score is not None])
    matrix: Counter[tuple[str, str]] = Counter()
    reasons: Counter[str] = Counter()
    strangers: Counter[str] = Counter()
    for trace, parsed in known.rows:
        if trace.tenant not in rules.tenants:
            strangers[trace.tenant] += 1
            continue
        decision = policy.decide(trace, parsed, rules)
        to = REFUSED if isinstance(decision, Rejected) else decision.lane.name
        matrix[trace.lane or REFUSED, to] += 1
        if to != (trace.lane or REFUSED):
            why = decision.reason.value
            reasons[f"{trace.lane or REFUSED} -> {to}: {why}"] += 1
    total = sum(matrix.values())
    moved = sum(count for (was, to), count in matrix.items() if was != to)
    return {
        "requests": total,
        "moved": moved,
        "unread": known.unread,
        "unknown_tenants": sum(strangers.values()),
        "lanes": [{"from": a, "to": b, "requests": n} for (a, b), n in sorted(matrix.items())],
        "reasons": dict(reasons.most_common()),
    }


@dataclass
class Policy:
    """A fleet file's decisions, without a deployment."""

    fleet: FleetConfig
    routing: RoutingPolicy
    languages: Languages | None
    thresholds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, fleet: FleetConfig) -> Policy:
        routing = routing_of(fleet)
        return cls(fleet, routing, languages_of(routing.languages))

    def set_thresholds(self, scores: Sequence[float]) -> None:
        """Take a level's threshold from the scores; without any nothing goes up."""
        ordered = sorted(scores, reverse=True)
        planning = planning_of(self.fleet)
        for level in [*levels_of(self.fleet), *([planning] if planning else [])]:
            place = round(level.share * len(ordered)) - 1
            self.thresholds[level.lane] = ordered[place] if place >= 0 else 1.1
        fixed = self.fleet.routing.escalation_threshold
        if fixed is not None and levels_of(self.fleet):
            self.thresholds[levels_of(self.fleet)[-1].lane] = fixed

    def decide(self, trace: Trace, parsed: ParsedRequest, tenants: Any) -> LaneDecision | Rejected:
        """Decide as the ingress would for a request whose turn nobody remembers."""
        complex_lane, frontier = self.fleet.routing.complex, self.fleet.routing.frontier
        on = self.fleet.enabled_lanes
        rules = tenants.rules_of(trace.tenant, complex_lane, frontier, on)
        views = {lane: LevelView(x, x, True, True) for lane, x in self.thresholds.items()}
        scores = () if trace.score is None else (trace.score,)

        def judge(*, is_planning: bool = False) -> Judgement:
            del is_planning
            return Judgement(scores, views)

        return decide_lane(self.routing, rules, self._facts(trace, parsed), judge)

    def _facts(self, trace: Trace, parsed: ParsedRequest) -> RequestFacts:
        background = background_of(parsed, _headers(trace), self.routing)
        return RequestFacts(
            pinned=parsed.model,
            has_tools=parsed.tools > 0,
            prompt_tokens=trace.prompt_tokens or _estimate(parsed),
            output_tokens=parsed.output_tokens or self.fleet.routing.default_output_tokens,
            is_step=parsed.prompt.is_step,
            is_background=background is not None,
            language=self._language(parsed),
            task=parsed.route.task,
            has_images=self.routing.has_blind_lanes and has_images(parsed.messages),
        )

    def _language(self, parsed: ParsedRequest) -> str | None:
        return None if self.languages is None else self.languages.of(parsed.prompt.users)


def _headers(trace: Trace) -> Mapping[bytes, bytes]:
    """Return what headers said, as far as the decision then tells it: they are not kept."""
    is_background = trace.reason in ("background", "sub_agent")
    return {b"x-pointsman-background": b"1"} if is_background else {}


def _estimate(parsed: ParsedRequest) -> int:
    return TokenEstimator().estimate(parsed.prompt.bytes, parsed.prompt.messages)

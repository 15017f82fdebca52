"""What has to be written, and where, for a recommended policy to run."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from evals.off_policy.policies import Change
from serve_app.commands.calibrate.judging import SHADOW
from serve_app.commands.client import CommandError
from serve_app.config.fleet import FleetConfig
from serve_app.config.settings import home
from serve_app.routing.policies import levels_of

Values = dict[str, str | float | None]


@dataclass(frozen=True)
class Settings:
    """Of the fleet file's `routing`, and of a tier or tenant."""

    routing: Values = field(default_factory=dict)
    tenants: Values = field(default_factory=dict)

    def fleet_lines(self) -> list[str]:
        """Return the fleet file's as YAML."""
        members = [f"  {name}: {_plain(value)}" for name, value in self.routing.items()]
        return ["routing:", *members] if members else []

    def tenants_lines(self) -> list[str]:
        """Return a tier's or tenant's as YAML."""
        return [f"{name}: {_plain(value)}" for name, value in self.tenants.items()]


def _plain(value: str | float | None) -> str:
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else value


def settings_of(
    change: Change | None, fleet: FleetConfig, strong: str, artifact: Path | None
) -> Settings:
    """Return what a change comes to in a fleet whose stronger lane is `strong`.

    `artifact`: folder of the artefact that was made from the same logs; None: none was.
    Raises CommandError where the fleet has no setting that does it.
    """
    routing: Values = {} if artifact is None else {"classifier": _place(artifact)}
    if change is None:
        return Settings(routing)
    if change.budget is not None:
        return Settings(routing, {"escalation_budget": change.budget})
    if change.classifier is not None:
        return Settings(_classifier(change.classifier, fleet))
    if change.share is not None and change.threshold is not None:
        routing |= _share(change.share, change.threshold, fleet, strong)
    return Settings(routing)


def _share(share: float, threshold: float, fleet: FleetConfig, strong: str) -> Values:
    levels = levels_of(fleet)
    lanes = [level.lane for level in levels]
    if strong not in lanes:
        told = ", ".join(lanes) or "none"
        raise CommandError(
            f"'{strong}' is no lane that this fleet's scores lead to (routing.complex, "
            f"routing.frontier: {told})"
        )
    at = lanes.index(strong)
    if fleet.routing.escalation_threshold is not None and at == len(levels) - 1:
        return {"escalation_threshold": round(threshold, 6)}
    # What scores over a threshold is also what goes to the stronger lanes still.
    above = [0.0, *accumulate(level.share for level in levels)][at]
    own = round(share - above, 4)
    if own <= 0:
        raise CommandError(
            f"a share of {share:.2%} is less than the lanes over '{strong}' have ({above:.2%})"
        )
    name = "frontier_share" if strong == fleet.routing.frontier else "escalation_share"
    return {name: own}


def _classifier(name: str, fleet: FleetConfig) -> Values:
    if name != SHADOW:
        return {"classifier": _place(Path(name))}
    shadow = fleet.routing.shadow_classifier
    if shadow is None:
        raise CommandError("the logs have a shadow's scores, and this fleet has none: --fleet FILE")
    return {"classifier": shadow, "shadow_classifier": None}


def _place(folder: Path) -> str:
    """Return a folder as the fleet file names it: from the home, where it is in there."""
    whole = folder.absolute()
    inside = whole.is_relative_to(home().absolute())
    return str(whole.relative_to(home().absolute()) if inside else whole)

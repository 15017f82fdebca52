"""The experiments of a fleet file as one ingress replica runs them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from evals.experiments.report import Subject
from router.experiments.experiment import Experiment, Kind
from router.experiments.guard import Rails
from router.slo.objectives import Targets
from serve_app.config.experiments import DAY_S, ExperimentConfig
from serve_app.config.fleet import FleetConfig

DIVIDES = frozenset(
    {"kind", "control", "treatment", "share", "starts", "tenants", "tiers"}
    | {"block_minutes", "washout_minutes"}
)
"""Settings by which requests are divided: ratings from before one changed are not of the same."""


@dataclass(frozen=True, slots=True)
class Terms:
    """One experiment.

    Attributes:
        key: its name and a digest of what stands in the file: with another definition it is
            another experiment, and what was stopped runs again.
        division: the same of what divides requests: while it stays, ratings go on counting.
        targets: what each request is judged by, and `rails` what stops the treatment.

    """

    config: ExperimentConfig
    experiment: Experiment
    key: str
    division: str
    targets: Targets
    rails: Rails

    @property
    def subject(self) -> Subject:
        """As its report needs it."""
        config, is_by_time = self.config, self.experiment.kind is Kind.SWITCHBACK
        return Subject(
            config.name,
            config.kind,
            config.control,
            config.treatment,
            config.share,
            config.metric,
            config.alpha,
            config.smallest,
            self.experiment.block_of if is_by_time else None,
        )

    def day_of(self, now: float) -> int:
        """Days since it began; `now` in seconds since 1970."""
        return max(0, int((now - self.config.begins) // DAY_S))


def terms_of(fleet: FleetConfig) -> tuple[Terms, ...]:
    """Return the experiments of a fleet file, in its order."""
    base = fleet.slo.policy().base if fleet.slo is not None else Targets()
    return tuple(
        Terms(x, x.experiment(), _key(x), _key(x, DIVIDES), x.targets(base), x.rails(base))
        for x in fleet.experiments
    )


def _key(config: ExperimentConfig, of: frozenset[str] | None = None) -> str:
    """Name it; a setting that a later version adds changes nothing while it has its default."""
    included = None if of is None else set(of)
    written = config.model_dump_json(include=included, exclude_defaults=True)
    return f"{config.name}-{hashlib.blake2b(written.encode(), digest_size=6).hexdigest()}"

"""What a reload made of the experiments: told to the operator, who may not have meant it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from serve_app.config.fleet import FleetConfig
from serve_app.experiments.terms import terms_of

LATELY = timedelta(days=1)

_GONE = (
    "experiment {} is gone from the file: its sessions go where all others go; what was counted is "
    "kept, and the same entry takes it up again"
)
_DIVIDED = (
    "experiment {} divides requests in another way: it is another experiment, and counts requests "
    "and ratings from now on"
)
_CHANGED = (
    "experiment {} has changed: it counts requests from now on, and a treatment that was stopped "
    "runs again; its ratings go on counting"
)


class ExperimentChanges:
    """Experiments that were changed or taken out; of each the last word is told for a day."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[datetime, str]] = {}

    def note(self, before: FleetConfig, after: FleetConfig, now: datetime) -> list[str]:
        """Compare two readings of the fleet file; return a sentence for each change."""
        found = dict(_changed(before, after))
        self._told |= {name: (now, sentence) for name, sentence in found.items()}
        return list(found.values())

    def told(self, now: datetime) -> list[str]:
        """Return the changes of the last day, with their times."""
        return [
            f"{sentence} (at {at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ})"
            for at, sentence in self._told.values()
            if now - at <= LATELY
        ]


def _changed(before: FleetConfig, after: FleetConfig) -> Iterator[tuple[str, str]]:
    """By name, in the order of the files. A new one is none: it is what was asked for."""
    new = {x.config.name: x for x in terms_of(after)}
    for was in terms_of(before):
        name, now = was.config.name, new.get(was.config.name)
        if now is None:
            yield name, _GONE.format(name)
        elif was.division != now.division:
            yield name, _DIVIDED.format(name)
        elif was.key != now.key:
            yield name, _CHANGED.format(name)

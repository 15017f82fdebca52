"""What a reload made of the experiments: told to the operator, who may not have meant it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from serve_app.config.fleet import FleetConfig
from serve_app.experiments.terms import Terms, terms_of

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
        self._gone: dict[str, Terms] = {}

    def note(self, before: FleetConfig, after: FleetConfig, now: datetime) -> list[str]:
        """Compare two readings of the fleet file; return a sentence for each change."""
        old, new = self._gone | _by_name(before), _by_name(after)
        for name in self._gone.keys() & new.keys():
            # It is back: nothing has to be said of its absence.
            self._told.pop(name, None)
        found = {}
        for name, was in old.items():
            sentence = _GONE if name not in new else _change(was, new[name])
            if sentence is not None and (name in new or name not in self._gone):
                found[name] = sentence.format(name)
        self._gone = {name: was for name, was in old.items() if name not in new}
        self._told |= {name: (now, sentence) for name, sentence in found.items()}
        return list(found.values())

    def told(self, now: datetime) -> list[str]:
        """Return the changes of the last day, with their times."""
        return [
            f"{sentence} (at {at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ})"
            for at, sentence in self._told.values()
            if now - at <= LATELY
        ]


def _by_name(fleet: FleetConfig) -> dict[str, Terms]:
    return {x.config.name: x for x in terms_of(fleet)}


def _change(was: Terms, now: Terms) -> str | None:
    if was.division != now.division:
        return _DIVIDED
    return None if was.key == now.key else _CHANGED

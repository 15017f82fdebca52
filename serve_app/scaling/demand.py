"""What the ingress replicas ask of a lane, as its replicas hear it."""

from __future__ import annotations

from dataclasses import dataclass

FRESH_S = 5.0
"""Age from which what an ingress replica told is not counted: it tells once a second while
it has something to tell."""


@dataclass(frozen=True, slots=True)
class Told:
    """What an ingress replica said of its demand, and when."""

    at: float
    queued_tokens: float
    offered_tokens_per_s: float


class DemandHeard:
    """A lane replica's side: what all ingress replicas told, summed."""

    def __init__(self) -> None:
        self._told: dict[str, Told] = {}

    def hear(self, ingress: str, queued: float, offered: float, now: float) -> None:
        self._told[ingress] = Told(now, queued, offered)

    def summed(self, now: float) -> Told | None:
        """Return the sums; None: nobody has told anything lately."""
        self._told = {k: x for k, x in self._told.items() if now - x.at <= FRESH_S}
        told = self._told.values()
        if not told:
            return None
        return Told(
            now, sum(x.queued_tokens for x in told), sum(x.offered_tokens_per_s for x in told)
        )

"""Requests under which replicas were lost before their first token.

Whether the request or chance ended a replica cannot be seen from one loss. So a request
that lost one is tried once more, and that is all: two replicas at most die under it.
After that the very same request waits, `BACKOFF_S` first and twice as long each time it
costs a replica again; then one of its kind is tried. An answer clears it.

Losses are counted one after the other: of many equal requests that were under way when
one replica died, each has lost one, and so has their kind.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

MAX_LOSSES = 2
"""Replicas that may be lost under one request."""


BACKOFF_S = 10.0
"""The first wait after `MAX_LOSSES`; it doubles up to `MAX_BACKOFF_S`."""

MAX_BACKOFF_S = 300.0

MEMORY_S = 900.0
"""A suspect of which nothing was heard for so long is one no more."""


@dataclass(slots=True)
class _Suspect:
    losses: int
    heard_at: float
    until: float


class Suspects:
    """The suspects of one ingress replica, by a digest of the request.

    Past the `most` that are remembered, the one heard of longest ago is not. `now` is in seconds.
    """

    def __init__(self, most: int = 1024) -> None:
        self._most = most
        self._suspects: OrderedDict[bytes, _Suspect] = OrderedDict()

    def __len__(self) -> int:
        return len(self._suspects)

    def losses(self, digest: bytes, *, now: float) -> int:
        """Return how many replicas were lost under such a request since one was answered."""
        suspect = self._known(digest, now)
        return 0 if suspect is None else suspect.losses

    def try_begin(self, digest: bytes, *, now: float) -> float:
        """Return the seconds until such a request may be tried; 0: now, and this is the one."""
        wait_s = self.wait_s(digest, now=now)
        suspect = self._known(digest, now)
        if suspect is not None and not wait_s:
            suspect.until = now + self._backoff_s(suspect.losses)
        return wait_s

    def wait_s(self, digest: bytes, *, now: float) -> float:
        suspect = self._known(digest, now)
        return 0.0 if suspect is None else max(0.0, suspect.until - now)

    def note_loss(self, digest: bytes, losses: int, *, now: float) -> None:
        """Count a replica lost under such a request: so many now, as that request knows."""
        losses = max(self.losses(digest, now=now), losses)
        self._suspects.pop(digest, None)
        self._suspects[digest] = _Suspect(losses, now, now + self._backoff_s(losses))
        if len(self._suspects) > self._most:
            self._suspects.popitem(last=False)

    def note_answer(self, digest: bytes) -> None:
        """Clear such a request, which was answered: it was not the reason."""
        self._suspects.pop(digest, None)

    def _known(self, digest: bytes, now: float) -> _Suspect | None:
        suspect = self._suspects.get(digest)
        if suspect is not None and now - suspect.heard_at > MEMORY_S:
            del self._suspects[digest]
            return None
        return suspect

    def _backoff_s(self, losses: int) -> float:
        if losses < MAX_LOSSES:
            return 0.0
        doubled = BACKOFF_S * 2.0 ** min(losses - MAX_LOSSES, 32)
        return min(MAX_BACKOFF_S, doubled)

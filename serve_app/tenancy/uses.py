"""Who used the deployment lately: what a change of the tenants file is held against."""

from __future__ import annotations

import time
from collections.abc import Callable

LATELY_S = 24 * 3600.0


class Uses:
    """Tenants and ids of keys, with the time of their last request.

    One ingress replica's, since its start. Bounded by what there is: only keys that open
    something are noted, and what is old is dropped at each look.

    Args:
        clock: in seconds.

    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tenants: dict[str, float] = {}
        self._keys: dict[str, float] = {}

    def note_tenant(self, name: str) -> None:
        self._tenants[name] = self._clock()

    def note_key(self, key_id: str) -> None:
        self._keys[key_id] = self._clock()

    def forget_key(self, key_id: str) -> None:
        """Forget the uses of a key whose id has another meaning now."""
        self._keys.pop(key_id, None)

    def tenants(self) -> dict[str, float]:
        """Names, and the seconds since the last request; those of the last day."""
        return self._lately(self._tenants)

    def keys(self) -> dict[str, float]:
        """The same of keys, by their ids."""
        return self._lately(self._keys)

    def _lately(self, noted: dict[str, float]) -> dict[str, float]:
        now = self._clock()
        for name in [name for name, at in noted.items() if now - at > LATELY_S]:
            del noted[name]
        return {name: now - at for name, at in noted.items()}

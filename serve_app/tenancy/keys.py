"""The store's keys as an ingress replica knows them, kept fresh while it runs."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping

from serve_app.config.errors import ConfigError
from serve_app.config.tenants import KeyConfig
from serve_app.tenancy.store import Keys, StoredKey, TenancyStore
from serve_app.tenancy.uses import Uses
from serve_app.transport.looking import look_until

logger = logging.getLogger("ray.serve")

WATCH_PERIOD_S = 0.5
"""A revocation is seen after this and one reading, well within two seconds."""

STORE_FAULTS = (sqlite3.Error, OSError, ValueError)
"""What a store raises, and a row that is no key."""


class KeyBook:
    """Keys and revocations of the store; without one, empty.

    A reading replaces all keys at once. A key that was seen revoked stays so as long as
    this process lives, whatever becomes of the store.
    `uses` outlives every reading of the files.
    """

    def __init__(self, store: TenancyStore | None = None) -> None:
        self._store = store
        self._version = (0, -1)
        self._keys: Mapping[str, StoredKey] = {}
        self._revoked: frozenset[str] = frozenset()
        self.last_error = ""
        self.uses = Uses()

    def find(
        self, key_id: str, in_file: tuple[str, KeyConfig] | None
    ) -> tuple[str, KeyConfig] | None:
        """Look an id up: a revocation wins over the file, the file over the store."""
        if key_id in self._revoked:
            return None
        if in_file is not None:
            return in_file
        stored = self._keys.get(key_id)
        return (stored.tenant, stored.key) if stored else None

    def load(self) -> None:
        """Read the store, or raise ConfigError: without it, revoked keys would be let in."""
        try:
            self._read()
        except STORE_FAULTS as error:
            raise ConfigError(f"the tenancy store cannot be read: {error}") from error

    def refresh(self) -> None:
        """Read the store if it has changed; what was read before stays if it cannot be read."""
        try:
            self._read()
        except STORE_FAULTS as error:
            if not self.last_error:
                logger.warning("keys: the tenancy store cannot be read: %s", error)
            self.last_error = f"the tenancy store cannot be read: {error}"
        else:
            self.last_error = ""

    async def watch(self, period_s: float = WATCH_PERIOD_S) -> None:
        await look_until("keys", self.refresh, period_s)

    def _read(self) -> None:
        if self._store is None or self._store.keys_version() == self._version:
            return
        found: Keys = self._store.keys()
        # Revocations first: the other order would show a revoked key for a moment.
        self._revoked |= found.revoked
        self._keys = found.keys
        self._version = found.version

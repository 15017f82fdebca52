"""What the store says of usage, once it has all there is."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from serve_app.config.settings import load_tenants, tenancy_path, usage_folder
from serve_app.tenancy.auth import make_key
from serve_app.tenancy.sqlite_store import SqliteStore
from serve_app.tenancy.store import StoredKey
from serve_app.tenancy.usage_log import recover_dead

TENANTS = ("ann", "ben", "cyd", "dan")
FLUSHED_S = 30.0


class Usage:
    """What the store says, as `pointsman tenants usage` reads it."""

    def __init__(self, tenants_file: Path, tenants: Sequence[str] = TENANTS) -> None:
        self._tenants = tenants
        self.path = tenancy_path(load_tenants(tenants_file))
        self.store = SqliteStore(self.path)
        self._before: dict[str, Counter[str]] = {}

    def keys(self) -> dict[str, str]:
        made = {}
        for tenant in self._tenants:
            made[tenant], entry = make_key()
            self.store.add_key(StoredKey(tenant, entry, datetime.now(UTC)))
        return made

    async def grown(self) -> dict[str, Counter[str]]:
        """By tenant, since it was last asked, once the store has all there is."""
        deadline = time.monotonic() + FLUSHED_S
        recover_dead(self.store, usage_folder(self.path))
        while left := self._unwritten():
            if time.monotonic() > deadline:
                raise RuntimeError(f"not in the store: {left}")
            await asyncio.sleep(0.05)
            recover_dead(self.store, usage_folder(self.path))
        now: dict[str, Counter[str]] = {tenant: Counter() for tenant in self._tenants}
        for slot, counts in self.store.usage("2000-01-01", "9999-12-31").items():
            if slot.tenant in now:
                now[slot.tenant].update(counts._asdict())
        before, self._before = self._before, now
        return {t: Counter(now[t]) - before.get(t, Counter()) for t in self._tenants}

    def _unwritten(self) -> list[str]:
        """Open requests, and usage logs with lines behind the store's position."""
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as db:
            left = [f"{n} open" for (n,) in db.execute("SELECT count(*) FROM open") if n]
            at = {row[0]: row[1:] for row in db.execute("SELECT writer, file, offset FROM writers")}
        for path in usage_folder(self.path).glob("*.log"):
            writer, number, _ = path.name.split(".")
            if (int(number), path.stat().st_size) > at.get(writer, (0, 0)):
                left.append(path.name)
        return left

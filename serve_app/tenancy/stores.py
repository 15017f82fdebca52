"""Which store keeps keys, revocations and usage: the file of this node, or a server."""

from __future__ import annotations

from pathlib import Path

from serve_app.config.records import StoreConfig
from serve_app.tenancy.sqlite_store import SqliteStore
from serve_app.tenancy.store import TenancyStore


def open_store(config: StoreConfig, path: Path) -> TenancyStore:
    """Return the store that the tenants file names. Nothing is opened before the first call.

    Args:
        config: the part `store` of the tenants file.
        path: of the file, whether it is used or not: the usage logs are beside it.

    """
    if config.postgres is None:
        return SqliteStore(path)
    # The driver is loaded only where a server is used.
    from serve_app.tenancy.postgres.store import PostgresStore

    return PostgresStore(config.postgres, path)

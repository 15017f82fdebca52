"""Accounting for what dead writers of usage left behind."""

from __future__ import annotations

from pathlib import Path

from serve_app.tenancy.store import TenancyStore
from serve_app.tenancy.usage_journal import dead_writers


def recover_dead(store: TenancyStore, folder: Path) -> None:
    """Add what they left to the store, each exactly once, and delete their files.

    Whoever does it may die at any point and another starts over: the store remembers
    that a writer is accounted for until its files are gone.
    """
    for dead in dead_writers(folder):
        store.recover(dead.writer, dead.replay)
        dead.delete()
        store.forget(dead.writer)

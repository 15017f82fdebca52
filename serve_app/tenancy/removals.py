"""What a reload took from those who use it: told to the operator, who may not have meant it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from serve_app.config.tenants import KeyConfig
from serve_app.tenancy.auth import Authenticator
from serve_app.tenancy.uses import LATELY_S


class Removals:
    """Tenants and keys that were in use when a reload removed them.

    Each is told for a day, or until it is back. Names and ids only, never a secret.
    """

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], _Removal] = {}

    def note(self, before: Authenticator, after: Authenticator, now: datetime) -> list[str]:
        """Compare two readings of the files; return a sentence for each removal."""
        new = _removed(before, after, now)
        self._told = {k: v for k, v in self._told.items() if not _is_back(k, v, after)} | new
        for kind, name in new:
            if kind == "key":
                before.uses.forget_key(name)
        return [removal.sentence for removal in new.values()]

    def told(self, now: datetime) -> list[str]:
        """Return the removals of the last day that are not back, with their times."""
        return [
            f"{removal.sentence} (at {_clock(removal.at)})"
            for removal in self._told.values()
            if (now - removal.at).total_seconds() <= LATELY_S
        ]


@dataclass(frozen=True, slots=True)
class _Removal:
    """One tenant or key; `entry` is what the key was, with its tenant."""

    at: datetime
    sentence: str
    entry: tuple[str, KeyConfig] | None = None


def _removed(
    before: Authenticator, after: Authenticator, now: datetime
) -> dict[tuple[str, str], _Removal]:
    found = {}
    for name, age_s in before.uses.tenants().items():
        if before.tenant(name) is not None and after.tenant(name) is None:
            found["tenant", name] = _Removal(
                now,
                f"tenant '{name}' was in use (last request {age_s:.0f} s before) and was removed: "
                "its keys are refused",
            )
    for key_id, age_s in before.uses.keys().items():
        entry = before.entry(key_id)
        if entry is None or ("tenant", entry[0]) in found or entry[1].is_expired(now):
            continue
        if not _opens(after, key_id, entry, now):
            found["key", key_id] = _Removal(
                now,
                f"key '{key_id}' of tenant '{entry[0]}' was in use (last request {age_s:.0f} s "
                "before) and was removed: it is refused",
                entry,
            )
    local = before.local_tenant
    if local in before.uses.tenants() and after.local_tenant is None:
        found["local", ""] = _Removal(
            now,
            f"local_tenant '{local}' was in use and was removed: requests without a key are "
            "refused",
        )
    return found


def _opens(after: Authenticator, key_id: str, before: tuple[str, KeyConfig], now: datetime) -> bool:
    """Return whether a key has the same tenant and secret as before."""
    name, old = before
    entry = after.entry(key_id)
    if entry is None or entry[1].is_expired(now):
        return False
    new = entry[1]
    return (entry[0], new.salt, new.hash) == (name, old.salt, old.hash)


def _is_back(what: tuple[str, str], removal: _Removal, after: Authenticator) -> bool:
    kind, name = what
    if removal.entry is not None:
        return _opens(after, name, removal.entry, removal.at)
    return (after.tenant(name) if kind == "tenant" else after.local_tenant) is not None


def _clock(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""What a reload took from those who use it: told to the operator, who may not have meant it."""

from __future__ import annotations

from datetime import UTC, datetime

from serve_app.auth import Authenticator
from serve_app.tenancy.uses import LATELY_S
from serve_app.tenant_config import KeyConfig


class Removals:
    """Tenants and keys that were in use when a reload removed them.

    Each is told for a day, or until it is back. Names and ids only, never a secret.
    """

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], tuple[datetime, str]] = {}

    def note(self, before: Authenticator, after: Authenticator, now: datetime) -> list[str]:
        """What this reload removed, each as a sentence."""
        new = _removed(before, after, now)
        self._told = {k: v for k, v in self._told.items() if not _is_back(k, after, now)}
        self._told |= {what: (now, f"{told} (at {_clock(now)})") for what, told in new.items()}
        return list(new.values())

    def told(self, now: datetime) -> list[str]:
        """What was removed lately, and is not back."""
        return [
            sentence
            for at, sentence in self._told.values()
            if (now - at).total_seconds() <= LATELY_S
        ]


def _removed(
    before: Authenticator, after: Authenticator, now: datetime
) -> dict[tuple[str, str], str]:
    found = {}
    for name, age_s in before.uses.tenants().items():
        if before.tenant(name) is not None and after.tenant(name) is None:
            found["tenant", name] = (
                f"tenant '{name}' was in use (last request {age_s:.0f} s before) and was removed: "
                "its keys are refused"
            )
    for key_id, age_s in before.uses.keys().items():
        entry = before.entry(key_id)
        if entry is None or ("tenant", entry[0]) in found or _opens(after, key_id, entry, now):
            continue
        found["key", key_id] = (
            f"key '{key_id}' of tenant '{entry[0]}' was in use (last request {age_s:.0f} s "
            "before) and was removed: it is refused"
        )
    local = before.local_tenant
    if local in before.uses.tenants() and after.local_tenant is None:
        found["local", ""] = (
            f"local_tenant '{local}' was in use and was removed: requests without a key are refused"
        )
    return found


def _opens(after: Authenticator, key_id: str, before: tuple[str, KeyConfig], now: datetime) -> bool:
    """Whether a key still opens what it did, or had expired by itself."""
    name, old = before
    if old.is_expired(now):
        return True
    entry = after.entry(key_id)
    if entry is None or entry[1].is_expired(now):
        return False
    new = entry[1]
    return (entry[0], new.salt, new.hash) == (name, old.salt, old.hash)


def _is_back(what: tuple[str, str], after: Authenticator, now: datetime) -> bool:
    kind, name = what
    if kind == "tenant":
        return after.tenant(name) is not None
    if kind == "local":
        return after.local_tenant is not None
    entry = after.entry(name)
    return entry is not None and not entry[1].is_expired(now)


def _clock(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""Keys of the fleet file that had another name before: read for one release, with a warning."""

from __future__ import annotations

from typing import Any

NEW_NAMES: dict[tuple[str, ...], dict[str, str]] = {
    ("recovery",): {"moves": "max_failovers"},
    ("admission",): {"forget_need_s": "need_decay_s", "calm_s": "cooldown_s"},
    ("ledger",): {"floor_share": "safe_share"},
    ("sessions", "affinity"): {
        "fill": "target_utilization",
        "balance": "load_factor",
        "can_own": "dedicated_replicas",
        "guests": "max_spilled",
        "notes": "tracked_sessions",
    },
}

MOVED = {("advice", "price"): "prices"}
"""Mappings that are part of another one now."""


def with_new_names(fleet: Any) -> tuple[Any, list[str]]:
    """The mapping of a fleet file under the names of today, and a warning for each old one.

    Raises ValueError where a key is given under both its names.
    """
    warnings: list[str] = []
    for path, names in NEW_NAMES.items():
        fleet = _renamed(fleet, path, names, ".".join(path), warnings)
    for (section, old), new in MOVED.items():
        fleet = _moved(fleet, section, old, new, warnings)
    return fleet, warnings


def _moved(fleet: Any, section: str, old: str, new: str, warnings: list[str]) -> Any:
    """Put what stands in one section's old key into another section."""
    if not isinstance(fleet, dict) or not isinstance(left := fleet.get(section), dict):
        return fleet
    given, now = left.get(old), fleet.get(new, {})
    if not isinstance(given, dict) or not isinstance(now, dict):
        return fleet
    for key in given.keys() & now.keys():
        if given[key] != now[key]:
            raise ValueError(f"{section}.{old}: '{key}' is another one in {new}; give only that")
    warnings.append(
        f"{section}.{old} is a part of {new} now; the next release does not read the old place"
    )
    kept = {key: value for key, value in left.items() if key != old}
    return fleet | {section: kept, new: given | now}


def _renamed(
    data: Any, path: tuple[str, ...], names: dict[str, str], where: str, warnings: list[str]
) -> Any:
    """Copy `data` along `path`, or return it as it is where the path leads to no mapping."""
    if not isinstance(data, dict):
        return data
    if path:
        if path[0] not in data:
            return data
        return data | {path[0]: _renamed(data[path[0]], path[1:], names, where, warnings)}
    for old, new in names.items():
        if old in data and new in data:
            raise ValueError(f"{where}: '{old}' is the old name of '{new}'; give only '{new}'")
        if old in data:
            warnings.append(
                f"{where}.{old} is called {new} now; the next release does not read the old name"
            )
    return {names.get(key, key): value for key, value in data.items()}

"""What `calibrate` says of other policies, for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def print_policies(policies: Mapping[str, Any]) -> None:
    now = policies["share_now"]
    share = "" if now is None else f", {now:.2%} of them go up"
    print(
        f"{policies['requests']:,} requests with a reward{share}; "
        f"{policies['explored']:,} were sent the other way"
    )
    for row in policies["candidates"]:
        print(f"  {row['policy']}: {_finding(row)}")
    for name, row in policies["rescored"].items():
        left = f"; {row['without']:,} without a text go as they do now" if row["without"] else ""
        print(f"  {name} ({row['version']}) has scored {row['requests']:,} anew{left}")
    print(policies["says"])


def print_settings(settings: Mapping[str, Any]) -> None:
    """Print the lines that a recommendation comes to, and whether they are in the file now."""
    where = "written to" if settings["written"] else "for"
    for head, name in ((f"{where} {settings['file']}", "routing"), ("for a tier", "tenants")):
        if settings[name]:
            print(f"{head}:")
            print("\n".join(f"    {line}" for line in settings[name]))
    if settings["written"]:
        print("the ingress replicas take it in by themselves; look again when it has run a while")
    if settings["hint"]:
        print(f"{'not written: ' if settings['not_written'] else ''}{settings['hint']}")


def _finding(row: Mapping[str, Any]) -> str:
    if not row["changed"]:
        return "as it is now"
    if not row["identified"]:
        lost = row["unsupported"] / row["changed"]
        return f"not identified here: {lost:.0%} of what it changes was never explored"
    if not row["enough"]:
        return f"too few logs: rests on {row['effective']:.0f} explored requests"
    return (
        f"{row['value']:+.4f} reward a request, between {row['low']:+.4f} and {row['high']:+.4f} "
        f"(rests on {row['effective']:.0f} explored requests)"
    )

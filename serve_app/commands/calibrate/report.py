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
    print(policies["says"])
    if policies["recommended"] is not None:
        print("take it as routing.escalation_share in the fleet file, and look again after that")


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

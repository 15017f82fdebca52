"""What `pointsman status` says of objectives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_NAMES = {
    "ttft": "first token within {:g} s",
    "first_tokens": "30 tokens within {:g} s",
    "answer": "answer within {:g} s",
    "failures": "failures under {:.3%}",
}


def slo_lines(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return a line for each row of `/status`'s `slo`, in its order: what burns comes first."""
    return [f"{_where(row)}: {_verdict(row)} ({_figures(row)})" for row in rows]


def _where(row: dict[str, Any]) -> str:
    name = _NAMES.get(row["objective"], row["objective"]).format(row["target"])
    return f"{row['lane']}, {row['tier']}, {name}"


def _verdict(row: dict[str, Any]) -> str:
    severity = row.get("severity")
    return f"{row['verdict'].upper()}, {severity}" if severity else str(row["verdict"])


def _figures(row: dict[str, Any]) -> str:
    total, left = row["good"] + row["bad"], row.get("budget_left_ratio")
    kept = f"{row['good']:,} of {total:,} kept it"
    if left is None:
        return kept
    return f"{kept}, " + (f"{left:.0%} of the budget left" if left >= 0 else "budget overspent")

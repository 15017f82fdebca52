"""Prometheus' own files out of the table: what it scrapes, records and alerts of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from serve_app.observe.table import ALERTS, Alert, Recording
from serve_app.observe.table.promql import JOB

RULES = ("recording.yml", "alerts.yml")
"""Rule files, beside prometheus.yml."""


@dataclass(frozen=True)
class Scrape:
    """How the deployment is asked.

    Attributes:
        target: host and port of the deployment.
        every: interval of scrapes and evaluations: seconds or minutes, as 15s.
        key_file: file with an admin key, for a deployment beyond loopback.

    """

    target: str = "127.0.0.1:8000"
    every: str = "15s"
    key_file: Path | None = None


def scrape_file(scrape: Scrape) -> str:
    """prometheus.yml: one job, the whole deployment answers at one address."""
    job: dict[str, Any] = {
        "job_name": JOB,
        # Every ingress replica and engine is asked meanwhile, and may have three seconds.
        "scrape_timeout": min(scrape.every, "10s", key=_seconds),
        "static_configs": [{"targets": [scrape.target]}],
        # When a counter began is of no use to Prometheus, and a third of the series.
        "metric_relabel_configs": [
            {"source_labels": ["__name__"], "regex": ".+_created", "action": "drop"}
        ],
    }
    if scrape.key_file is not None:
        job["authorization"] = {"credentials_file": str(scrape.key_file)}
    return dump(
        {
            "global": {"scrape_interval": scrape.every, "evaluation_interval": scrape.every},
            "rule_files": list(RULES),
            "scrape_configs": [job],
        }
    )


def recording_file(groups: Mapping[str, Iterable[Recording]]) -> str:
    return _groups({name: map(_recorded, rules) for name, rules in groups.items()})


def alerts_file(runbooks: str) -> str:
    """alerts.yml; `runbooks` is the address of the folder with the runbooks."""
    return _groups({n: (_alert(a, runbooks) for a in rows) for n, rows in ALERTS.items()})


def _groups(groups: Mapping[str, Iterable[dict[str, Any]]]) -> str:
    return dump({"groups": [{"name": name, "rules": list(r)} for name, r in groups.items()]})


def _recorded(rule: Recording) -> dict[str, Any]:
    labels = {"labels": dict(rule.labels)} if rule.labels else {}
    return {"record": rule.name, "expr": rule.expr, **labels}


def _alert(row: Alert, runbooks: str) -> dict[str, Any]:
    return {
        "alert": row.name,
        "expr": row.expr,
        "for": row.lasts,
        "labels": {"severity": row.severity},
        "annotations": {
            "summary": row.summary,
            "action": row.action,
            "source": row.source,
            "runbook_url": f"{runbooks.rstrip('/')}/{row.name}.md",
        },
    }


_DURATION = re.compile(r"([1-9][0-9]*)(s|m)")


def is_duration(text: str) -> bool:
    return _DURATION.fullmatch(text) is not None


def _seconds(duration: str) -> int:
    number, unit = duration[:-1], duration[-1]
    return int(number) * (60 if unit == "m" else 1)


HEADER = "# Written by `pointsman observe --write` from serve_app/observe/table; edit it there.\n"


def dump(value: Any) -> str:
    """YAML with a line of its own for every text."""
    return HEADER + yaml.safe_dump(value, sort_keys=False, width=10_000, allow_unicode=True)

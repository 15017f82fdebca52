"""Small helpers that the end-to-end tests share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from benchmarks.deployment import ROOT


def eventually(check: Callable[[], Any], within_s: float, every_s: float = 0.05) -> Any:
    """The first truthy answer of `check`, polled; fails after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(every_s)


def pointsman(*args: str, tenants: Path | None = None) -> Any:
    """Run the console script with --json and return what it printed."""
    command = [str(Path(sys.executable).with_name("pointsman")), *args, "--json"]
    env = dict(os.environ)
    if tenants is not None:
        env["POINTSMAN_TENANTS"] = str(tenants)
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=env, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def new_key(tenants: Path, tenant: str, tier: str, url: str) -> dict[str, str]:
    """A new tenant's key as a header, once every ingress replica knows it."""
    key = pointsman("tenants", "add", tenant, "--tier", tier, tenants=tenants)["key"]
    headers = {"authorization": f"Bearer {key}"}
    pointsman("reload", "--url", url)
    with httpx.Client() as http:
        assert http.get(f"{url}/v1/models", headers=headers).status_code == 200
    return headers


def chat(text: str, **fields: Any) -> dict[str, Any]:
    """A chat body with one user message."""
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **fields}


def words(stream: str) -> list[str]:
    """The simulated engine's tokens in a stream: a word each, however they were merged."""
    events = [line[6:] for line in stream.splitlines() if line.startswith("data: {")]
    deltas = [c["delta"] for event in events for c in json.loads(event).get("choices", ())]
    return "".join(delta.get("content") or "" for delta in deltas).split()


def totals(status: dict[str, Any]) -> dict[str, int]:
    """Open work as every part of the deployment counts it."""
    replicas = [r for lane in status["lanes"].values() for r in lane["replicas"]]
    return {
        "ingress": sum(x["requests_in_flight"] for x in status["ingress"]),
        "reserved": sum(x["reserved_tokens"] for x in status["ingress"]),
        "endpoints": sum(r["in_flight"] for r in replicas),
        "engines": int(sum(r["running"] + r["waiting"] for r in replicas)),
    }


def is_idle(http: httpx.Client, url: str) -> bool:
    """Whether nothing is open anywhere."""
    return not any(totals(http.get(f"{url}/status").json()).values())

"""How long the worst allowed schema of each kind holds up another client's stream.

    python -m benchmarks.schemas URL MODEL [FAMILY]

URL is an engine's or Pointsman's; a stream runs while a request with the schema is read,
and its longest silence is told: the median of a few rounds. Alone, and beside a request
without a schema, it is what machine and model take.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from itertools import pairwise
from typing import Any

import httpx

from benchmarks.support.schema_families import FAMILIES, largest
from serve_app.config.fleet import SchemaConfig

ROUNDS = 3
STREAM_TOKENS = 60
LEAD = 10
"""Tokens of the stream before the other request is sent."""

CHAT = "/v1/chat/completions"
SAY = [{"role": "user", "content": "Count for as long as you can."}]


def longest_gap(url: str, model: str, constraint: dict[str, Any] | None) -> float:
    """Longest silence of a stream, in seconds, while a request with this is served."""
    asked = threading.Thread(target=_ask, args=(url, model, constraint))
    body = {
        "model": model,
        "messages": SAY,
        "stream": True,
        "ignore_eos": True,
        "max_tokens": STREAM_TOKENS,
    }
    times: list[float] = []
    with httpx.stream("POST", url + CHAT, json=body, timeout=120) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: {"):
                times.append(time.perf_counter())
                if len(times) == LEAD and constraint is not None:
                    asked.start()
    if asked.ident is not None:
        asked.join()
    times = times[LEAD - 1 :]
    return max(after - before for before, after in pairwise(times))


def _ask(url: str, model: str, constraint: dict[str, Any]) -> None:
    body = {
        "model": model,
        "messages": SAY,
        "max_tokens": STREAM_TOKENS // 4,
        **({"structured_outputs": _fresh(constraint)} if constraint else {}),
    }
    httpx.post(url + CHAT, json=body, timeout=120)


def _fresh(constraint: dict[str, Any]) -> dict[str, Any]:
    """The same schema, which no engine has read yet."""
    schema = constraint.get("json")
    if not isinstance(schema, dict):
        return constraint
    return {"json": {**schema, "$comment": str(time.time_ns())}}


def median_gap(url: str, model: str, constraint: dict[str, Any] | None) -> float:
    """Milliseconds, the median of a few rounds."""
    return 1000 * statistics.median(longest_gap(url, model, constraint) for _ in range(ROUNDS))


def main(url: str, model: str, *families: str) -> None:
    """Print a line for each family."""
    bounds = SchemaConfig()
    for name, other in (("alone", None), ("beside a request without one", {})):
        print(f"{name:46} {median_gap(url, model, other):6.0f} ms", flush=True)
    for family in families or FAMILIES:
        size = largest(family, bounds)
        if size:
            constraint = FAMILIES[family](size)
            gap = median_gap(url, model, constraint)
            print(f"{family:30} {size:6} {len(json.dumps(constraint)):8} {gap:6.0f} ms", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

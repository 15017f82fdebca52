"""Where the CPU time of a request goes, by the step that it is spent for.

The time of what is no step's own (the library, C functions) is its callers', in the shares in
which they spent it.
"""

from __future__ import annotations

import cProfile
import pstats
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OTHER = "event loop"

STEPS: dict[str, tuple[str, ...]] = {
    "front": ("serve_app/front/", "serve_app/protocol/http_rules", "serve_app/protocol/encodings"),
    "tenancy": ("serve_app/tenancy/",),
    "bodies": ("serve_app/bodies/", "serve_app/agents/", "router/agents/", "router/stable_text/"),
    "classifier": ("classifier/", "serve_app/routing/scores"),
    "routing": (
        "serve_app/routing/",
        "router/routing/",
        "router/tokens",
        "router/types",
        "serve_app/pipeline/preparation",
        "serve_app/pipeline/fitting",
        "serve_app/pipeline/rescoring",
        "serve_app/pipeline/noting",
        "serve_app/request/answer_limit",
        "serve_app/request/plan",
        "serve_app/summaries/",
        "serve_app/experiments/",
    ),
    "admission": (
        "serve_app/admission/",
        "router/admission/",
        "router/limits/",
        "router/leases/",
        "router/scaling/",
        "serve_app/leases/",
        "serve_app/swap/",
        "serve_app/pipeline/reserving",
        "serve_app/request/charge",
        "serve_app/request/metering",
    ),
    "placement": ("serve_app/placement/", "router/placement/", "serve_app/request/turn"),
    "dispatch": (
        "serve_app/relay/",
        "router/recovery/",
        "serve_app/transport/",
        "serve_app/pipeline/asking",
        "serve_app/request/response_headers",
        "serve_app/protocol/",
    ),
    "settle": (
        "serve_app/pipeline/settlement",
        "serve_app/slo/",
        "router/slo/",
        "serve_app/metrics/",
    ),
    "records": (
        "serve_app/records/",
        "serve_app/tracing/",
        "serve_app/traces/",
        "serve_app/pipeline/trace_keeping",
        "serve_app/pipeline/shadowing",
    ),
    "pipeline": ("serve_app/",),
}

Function = tuple[str, int, str]


def steps_of(profile: cProfile.Profile) -> tuple[Counter[str], Counter[str]]:
    """Seconds and calls by step."""
    stats: dict[Function, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    spent, calls = Counter[str](), Counter[str]()
    known: dict[Function, dict[str, float]] = {}
    for function, (_, count, own_s, _, _) in stats.items():
        for step, share in _shares(function, stats, known).items():
            spent[step] += share * own_s
        step = _step_of(function)
        if step is not None:
            calls[step] += count
    return spent, calls


def _step_of(function: Function) -> str | None:
    """Return the step that a function of ours belongs to; None: it is none of ours."""
    name = function[0]
    if not name.startswith(f"{ROOT}/") or "/site-packages/" in name:
        return None
    path = name.removeprefix(f"{ROOT}/")
    return next((s for s, begins in STEPS.items() if path.startswith(begins)), None)


def _shares(
    function: Function, stats: dict[Function, Any], known: dict[Function, dict[str, float]]
) -> dict[str, float]:
    """How a function's own time is shared among steps; the shares add up to 1."""
    found = known.get(function)
    if found is not None:
        return found
    step = _step_of(function)
    # Until its callers are known: what calls itself is the event loop's.
    known[function] = {step or OTHER: 1.0}
    callers = stats[function][4] if step is None and function in stats else {}
    weights = {caller: row[2] or 1e-9 for caller, row in callers.items() if caller in stats}
    if weights:
        shared = Counter[str]()
        for caller, weight in weights.items():
            for name, share in _shares(caller, stats, known).items():
                shared[name] += share * weight / sum(weights.values())
        known[function] = dict(shared)
    return known[function]


def functions_of(profile: cProfile.Profile, requests: int, most: int) -> list[dict[str, Any]]:
    """The functions that take most by themselves, with calls and microseconds a request."""
    stats: dict[Function, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    rows = sorted(stats.items(), key=lambda x: -x[1][2])[:most]
    return [
        {
            "function": f"{Path(file).parent.name}/{Path(file).stem}:{line} {name}",
            "calls": round(count / requests, 2),
            "own_us": 1e6 * own_s / requests,
            "with_callees_us": 1e6 * all_s / requests,
        }
        for (file, line, name), (_, count, own_s, all_s, _) in rows
    ]

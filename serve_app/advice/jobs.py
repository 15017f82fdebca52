"""Rows of advice and recorded requests to what the simulator is asked, in a process of its own.

    python -m serve_app.advice.jobs < JOBS.json

answers with one JSON list. An ingress replica's event loop has streams to relay; a simulation is
seconds of arithmetic, which is why it does not run there, and at the lowest priority.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from router.advice.table import FLEET
from router.advice.trigger import Change
from serve_app.advice.effect import WITHIN_S, Job, expected_effect
from simulator.model.profile import Profile
from simulator.virtual_time.trace import Recorded

logger = logging.getLogger("ray.serve")

ROOT = Path(__file__).resolve().parents[2]
"""Where the packages are, wherever Ray has put this process."""

MOST_JOBS = 8
LOWEST = 19


def lane_facts(fleet: Any, shapes: Mapping[str, Any], default: str) -> dict[str, Any]:
    """Return what a simulation needs to know of each lane, as JSON.

    The fleet's is that of the default lane.
    """
    facts = {}
    for name, lane in fleet.enabled_lanes.items():
        profile = shapes[name].profile
        facts[name] = {
            "profile": None if profile is None else profile.model_dump(mode="json"),
            "replicas": lane.replicas.min,
            "slots": lane.assumed_slots,
            "fewer_slots": max(1, round(0.75 * lane.assumed_slots)),
            "prefill_chunk": int(lane.engine_args.get("long_prefill_token_threshold") or 0),
        }
    return {**facts, FLEET: {**facts[default], "lane": default}}


def job_of(
    row: Mapping[str, Any], facts: Mapping[str, Any], traffic: Mapping[str, Sequence[Any]]
) -> dict[str, Any]:
    """Return a row's job as JSON."""
    of = facts.get(str(row["subject"]), {})
    lane = str(of.get("lane", row["subject"]))
    is_slow = row["trigger"] == "decode_slow"
    return {
        **of,
        "key": [row["trigger"], row["subject"]],
        "change": row["change"],
        "requests": list(traffic.get(lane, ())),
        "slowdown": row["value"] if is_slow and row["value"] else 1.0,
    }


def run_job(told: Mapping[str, Any]) -> dict[str, Any]:
    """Simulate one job; whatever is wrong with it is said in place of an effect."""
    try:
        return expected_effect(_job(told))
    except (KeyError, TypeError, ValueError) as error:
        return {"simulated": False, "says": f"not simulated: {type(error).__name__}"}


def _job(told: Mapping[str, Any]) -> Job:
    profile = told.get("profile")
    return Job(
        change=Change(told["change"]),
        profile=None if profile is None else Profile.model_validate(profile),
        requests=[_recorded(*row) for row in told["requests"]],
        replicas=int(told.get("replicas", 1)),
        slots=int(told.get("slots", 1)),
        fewer_slots=int(told.get("fewer_slots", 1)),
        slowdown=float(told.get("slowdown", 1.0)),
        prefill_chunk=int(told.get("prefill_chunk", 0)),
    )


def _recorded(
    at: float, prompt: int, cached: int, output: int, session: int, tenant: int, ttft: float | None
) -> Recorded:
    measured = math.nan if ttft is None else ttft
    return Recorded(at, prompt, cached, output, session, tenant, measured)


async def run_elsewhere(jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Simulate jobs in another process; none where it takes too long or does not answer."""
    asked = json.dumps(list(jobs[:MOST_JOBS])).encode()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "serve_app.advice.jobs",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(MOST_JOBS * WITHIN_S):
            answer, _ = await process.communicate(asked)
        found: list[dict[str, Any]] = json.loads(answer)
    except (TimeoutError, ValueError):
        logger.warning("advice: a simulation did not answer")
        return []
    else:
        return found
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def main() -> None:
    with contextlib.suppress(OSError):
        os.nice(LOWEST)
    print(json.dumps([run_job(job) for job in json.load(sys.stdin)]))


if __name__ == "__main__":
    main()

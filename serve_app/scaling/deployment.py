"""What Serve is told of a lane's replicas: a number, or who decides it."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from typing import Any

from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from serve_app.config.lane import LaneConfig
from serve_app.scaling.readings import EVERY_S

POLICY = "serve_app.scaling.policy.LanePolicy"


def replica_options(
    name: str, lane: LaneConfig, bundles: list[dict[str, float]], ttft_s: float | None
) -> dict[str, Any]:
    """Return the options of a lane's deployment that say how many replicas it has."""
    if not lane.replicas.follow_load:
        return {"num_replicas": lane.replicas.min}
    terms = lane.replicas.terms(lane.slots, ttft_s)
    told = {
        "lane": name,
        "terms": asdict(terms),
        "bundles": bundles,
        "has_forecast": lane.replicas.forecast,
    }
    with warnings.catch_warnings():
        # `metrics_interval_s` is to become a variable of the environment; it is not yet.
        warnings.simplefilter("ignore", DeprecationWarning)
        config = AutoscalingConfig(
            # No initial number: every redeploy would go back to it, whatever the load.
            min_replicas=terms.min_replicas,
            max_replicas=terms.max_replicas,
            metrics_interval_s=EVERY_S,
            look_back_period_s=10 * EVERY_S,
            # The policy has its own calm and its own look ahead.
            upscale_delay_s=0,
            downscale_delay_s=0,
            policy=AutoscalingPolicy(policy_function=POLICY, policy_kwargs=told),
        )
    return {"autoscaling_config": config}

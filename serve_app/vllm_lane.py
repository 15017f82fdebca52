"""From a lane's configuration to a `ray.serve.llm` deployment."""

from __future__ import annotations

from typing import Any

from ray.serve import Application
from ray.serve.llm import LLMConfig, build_llm_deployment

from serve_app.fleet_config import LaneConfig
from serve_app.lane_deployment import LaneServer
from serve_app.lane_endpoint import LaneLife


def llm_config(lane: LaneConfig, source: str, options: dict[str, Any]) -> LLMConfig:
    """The lane as Ray's LLMConfig; `options` are Serve's deployment options."""
    extra: dict[str, Any] = {}
    if lane.accelerator == "cpu":
        extra["accelerator_config"] = {"kind": "cpu"}
        extra["placement_group_config"] = {"bundles": [{"CPU": lane.num_cpus}]}
    elif lane.bundle is not None:
        extra["placement_group_config"] = {
            "bundle_per_worker": dict(lane.bundle),
            # All cards of a replica in one machine.
            "strategy": "STRICT_PACK",
        }
    return LLMConfig(
        model_loading_config={"model_id": lane.model_id, "model_source": source},
        engine_kwargs={**lane.engine_args, "max_model_len": lane.max_model_len},
        # The one time-out around a load; it is read when the replica imports Ray.
        runtime_env={
            "env_vars": {
                "RAYLLM_ENGINE_START_TIMEOUT_S": str(int(lane.start_timeout_s)),
                **lane.env,
            }
        },
        deployment_config={**options, "ray_actor_options": {"num_cpus": 0}},
        # The engine's own `vllm:*` metrics stay on its /metrics only without this.
        log_engine_metrics=False,
        **extra,
    )


def build_vllm_lane(
    lane: LaneConfig, source: str, options: dict[str, Any], life: LaneLife
) -> Application:
    """The deployment of one vLLM lane."""
    name = options.pop("name")
    return build_llm_deployment(
        llm_config(lane, source, options),
        name_prefix="",
        bind_kwargs={"life": life, "host_kv_cache": lane.host_kv_cache},
        override_serve_options={"name": name},
        deployment_cls=LaneServer,
    )

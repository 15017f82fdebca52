"""From a lane's configuration to a deployment of vLLM replicas.

`ray.serve.llm` and vLLM are imported where a replica starts, not where the graph is
built: a process that builds would need 12 s of a core for that, before anything starts.
So the server is named here, and Ray's `LLMConfig` is made by the replica.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray
from ray import serve
from ray.serve import Application

from serve_app.config.engine_walls import MEDIA_ENV, STORE_ENV, media_args, revision_args
from serve_app.config.lane import LaneConfig
from serve_app.engine.cards.own_cards import WORKER_EXTENSION
from serve_app.engine.lane_endpoint import LaneLife

if TYPE_CHECKING:
    from ray.serve.llm import LLMConfig

LANE_SERVER = "serve_app.engine.lane_deployment.LaneServer"


def llm_config(lane: LaneConfig, source: str, options: dict[str, Any]) -> LLMConfig:
    from ray.serve.llm import LLMConfig

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
        engine_kwargs={
            **signal_args(lane),
            **lane.engine_args,
            "max_model_len": lane.max_model_len,
            **media_args(lane.media_hosts),
            **revision_args(lane.model_source, lane.revision, lane.engine_args),
        },
        runtime_env={"env_vars": environment(lane)},
        deployment_config={**options, "ray_actor_options": {"num_cpus": 0}},
        # The engine's own `vllm:*` metrics stay on its /metrics only without this.
        log_engine_metrics=False,
        **extra,
    )


def signal_args(lane: LaneConfig) -> dict[str, Any]:
    """What an engine is told so that it can be seen into; a lane's own arguments win.

    `kv_cache_metrics` keeps account of every hundredth block of the cache, which costs a
    random number for each block that is given out. Workers on cards say which card it is.
    """
    own: dict[str, Any] = {"kv_cache_metrics": True}
    if not lane.generates:
        own["runner"] = "pooling"
    if lane.accelerator == "gpu":
        own["worker_extension_cls"] = WORKER_EXTENSION
        if lane.cards is not None:
            own["enable_sleep_mode"] = True
    return own


def environment(lane: LaneConfig) -> dict[str, str]:
    """Return what a replica's processes are told; the fleet file's own words win but for walls."""
    # The one time-out around a load; it is read when the replica imports Ray.
    start = {"RAYLLM_ENGINE_START_TIMEOUT_S": str(int(lane.start_timeout_s))}
    return {**start, **_part_of_a_card(lane), **lane.env, **MEDIA_ENV, **STORE_ENV}


def _part_of_a_card(lane: LaneConfig) -> dict[str, str]:
    """What a worker asks Ray for, where lanes share a card; unless told, vLLM asks for a whole one.

    Its bundle has less, so that it would wait for ever.
    """
    gpus = (lane.bundle or {}).get("GPU", 1)
    is_part = lane.accelerator == "gpu" and 0 < gpus < 1
    return {"VLLM_RAY_PER_WORKER_GPUS": str(gpus)} if is_part else {}


def build_vllm_lane(
    lane: LaneConfig, source: str, options: dict[str, Any], life: LaneLife
) -> Application:
    deployed = serve.deployment(
        **options,
        placement_group_bundles=worker_bundles(lane),
        placement_group_strategy=worker_strategy(lane),
        ray_actor_options=actor_options(lane),
    )
    return deployed(LANE_SERVER).bind(lane, source, life=life)  # type: ignore[arg-type]


def actor_options(lane: LaneConfig) -> dict[str, Any]:
    """What the replica itself asks Ray for: its environment; resources are its workers'."""
    return {
        "num_cpus": 0,
        "runtime_env": {
            **ray.get_runtime_context().runtime_env,
            "worker_process_setup_hook": "ray.llm._internal.serve._worker_process_setup_hook",
            "env_vars": environment(lane),
        },
    }


def worker_strategy(lane: LaneConfig) -> str:
    """Where a replica's workers may be; a bundle that the file gives keeps them together."""
    return "STRICT_PACK" if lane.bundle is not None and lane.accelerator == "gpu" else "PACK"


def worker_bundles(lane: LaneConfig) -> list[dict[str, float]]:
    """Resources of a replica's workers; the replica itself has no more than the first's."""
    if lane.accelerator == "cpu":
        return [{"CPU": lane.num_cpus, "GPU": 0}]
    first = {"CPU": 0, **(lane.bundle or {"GPU": 1})}
    return [first] + [dict(lane.bundle or {"GPU": 1}) for _ in range(lane.workers - 1)]

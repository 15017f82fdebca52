"""Ray's own OpenAI ingress over real engines, with one of Ray's request routers.

`ray.serve.llm.build_openai_app` with the engines of a Pointsman fleet file: the same
checkpoint, engine arguments, environment and number of replicas. What chooses a replica
is the class that `router` names, with Ray's defaults, on the path that Ray documents:
`OpenAiIngress` calls `LLMServer` through a deployment handle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prometheus_client import generate_latest
from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig
from ray.serve.llm import LLMConfig, LLMServer, build_openai_app
from vllm.v1.metrics.prometheus import get_prometheus_registry

from serve_app.config.settings import load_fleet
from serve_app.engine.embedded_model import resolve_source
from serve_app.engine.vllm_lane import llm_config

LANE = "chat"
INGRESS = {"num_replicas": 1, "ray_actor_options": {"num_cpus": 0.1}}


class CountedServer(LLMServer):
    """Ray's `LLMServer`, which can also be asked for its engine's counters."""

    async def engine_metrics(self) -> dict[str, str]:
        """This replica's id and what the engine's /metrics would say."""
        text = generate_latest(get_prometheus_registry()).decode()
        return {"replica": serve.get_replica_context().replica_id.unique_id, "text": text}


def build(args: dict[str, Any]) -> Application:
    """Build the graph.

    Args:
        args: `fleet`, path of a fleet file with a lane `chat`; `router`, import path of
            the request router's class.

    """
    lane = load_fleet(Path(args["fleet"])).lanes[LANE]
    options = {
        "num_replicas": lane.replicas.min,
        "max_ongoing_requests": 100,
        "request_router_config": RequestRouterConfig(request_router_class=args["router"]),
    }
    made: LLMConfig = llm_config(lane, resolve_source(lane.model_source), options)
    made.server_cls = CountedServer
    return build_openai_app({"llm_configs": [made], "ingress_deployment_config": INGRESS})

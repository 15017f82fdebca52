"""The deployment around one lane's vLLM engine.

`ray.serve.llm`'s own server starts and watches vLLM; `LaneEndpoint` adds the
endpoint that the ingress relays from. Importing this imports vLLM (about 10 s).
"""

from __future__ import annotations

import logging

import ray
from ray.serve.llm import LLMConfig
from ray.serve.llm.deployment import LLMServer

from serve_app.host_cache import HostKvCache, HostMemory, host_cache_gib, host_memory
from serve_app.lane_endpoint import LaneEndpoint, LaneLife
from serve_app.lifeline import answer_of_the_living

logger = logging.getLogger("ray.serve")


class LaneServer(LaneEndpoint, LLMServer):
    """One vLLM engine and its endpoint."""

    async def __init__(  # type: ignore[misc]
        self, llm_config: LLMConfig, *, life: LaneLife, host_kv_cache: HostKvCache = None
    ) -> None:
        self._begin(life)
        if host_kv_cache is not None:
            offload(llm_config, host_kv_cache, host_memory(), _cards_here())
        await LLMServer.__init__(self, llm_config)
        app = await self.engine.build_asgi_app()
        await self._open(app, model_id=llm_config.model_id)

    async def _pulse(self) -> None:
        """Ask every worker through the engine core, which answers between two steps.

        Ray's and vLLM's own `check_health` only read a flag that is set when the
        engine core has died; one that is stopped or stuck looks well to them.
        """
        engine = self.engine._engine_client  # noqa: SLF001  # Ray passes no such question on
        await answer_of_the_living(engine.collective_rpc("check_health"), engine.check_health)

    async def __del__(self) -> None:  # type: ignore[override]
        await self._close()
        await LLMServer.__del__(self)


def offload(config: LLMConfig, wanted: HostKvCache, memory: HostMemory, cards: int) -> None:
    """Turn on the second-level cache, in the size that a host with so many cards has room for."""
    size = host_cache_gib(
        wanted, memory, cards=config.get_engine_config().num_devices, cards_on_host=cards
    )
    if size is None:
        logger.warning("%s: no room in host memory for KV (%s)", config.model_id, memory)
        return
    logger.info("%s: %.0f GiB of host memory for KV (%s)", config.model_id, size, memory)
    config.update_engine_kwargs(kv_offloading_size=size)


def _cards_here() -> int:
    """All cards that Ray knows of on this host."""
    here = ray.get_runtime_context().get_node_id()
    return int(
        sum(node["Resources"].get("GPU", 0) for node in ray.nodes() if node["NodeID"] == here)
    )

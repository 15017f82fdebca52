"""The deployment around one lane's vLLM engine.

`ray.serve.llm`'s own server starts and watches vLLM; `LaneEndpoint` adds the
endpoint that the ingress relays from. Importing this imports vLLM (about 10 s).
"""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.serve.llm import LLMConfig
from ray.serve.llm.deployment import LLMServer

from router.swap.terms import Phase
from serve_app.config.lane import LaneConfig

# Imported to be in vLLM's registry: the lane's environment names it.
from serve_app.engine import media_fetch  # noqa: F401
from serve_app.engine.cards.own_cards import Find, cards_of_engine, no_cards
from serve_app.engine.engine_info import engine_info, refuse_fall_back
from serve_app.engine.host_cache import HostKvCache, HostMemory, host_cache_gib, host_memory
from serve_app.engine.lane_endpoint import LaneEndpoint, LaneLife
from serve_app.engine.lane_engine import LaneEngine
from serve_app.engine.sleeping.vllm import PooledEngine, VllmSleeper
from serve_app.engine.vllm_lane import llm_config
from serve_app.watchdog.engine_liveness import EngineLiveness
from serve_app.watchdog.heartbeat import answer_or_engine_death

logger = logging.getLogger("ray.serve")


class LaneServer(LaneEndpoint, LLMServer):
    """One vLLM engine and its endpoint."""

    engine: LaneEngine

    async def __init__(  # type: ignore[misc]
        self, lane: LaneConfig, source: str, *, life: LaneLife
    ) -> None:
        self._begin(life)
        self._lane = lane
        config = self._config(source)
        if lane.cards is not None:
            self._init_shared(config, PooledEngine)
            has_card = lane.accelerator == "gpu"
            sleeper = VllmSleeper(self, config.model_id, life.task, has_card=has_card)
            await self._open_asleep(sleeper, lane.cards, lane.start_timeout_s, config.model_id)
            return
        await LLMServer.__init__(self, config, engine_cls=LaneEngine)
        app = await self.build_app()
        find_cards: Find = no_cards
        if lane.accelerator == "gpu":
            find_cards = partial(cards_of_engine, self.engine.client)
        await self._open(app, model_id=config.model_id, find_cards=find_cards)

    def _config(self, source: str) -> LLMConfig:
        lane = self._lane
        config = llm_config(lane, source, {})
        if lane.host_kv_cache is not None:
            offload(config, lane.host_kv_cache, host_memory(), _cards_here())
        if Path(source).is_dir():
            # There is nothing to fetch, and the task that would on each node imports vLLM.
            callback = config.get_or_create_callback()
            callback.ctx.run_init_node = False  # type: ignore[union-attr]  # it is never None
        return config

    async def build_app(self) -> Any:
        """Return the routes of an engine that has started; refuse one that is not as it should."""
        app = await self.engine.build_asgi_app()  # type: ignore[no-untyped-call]  # Ray's
        refuse_fall_back(self._lane.engine_args, self.engine.client.vllm_config)
        self._info = engine_info(self.engine.client.vllm_config)
        self._liveness = EngineLiveness(os.getpgrp())
        return app

    async def _start_engine(self) -> None:
        """Without the process for usage statistics that Ray starts beside the first engine."""
        await self.engine.start()

    async def _check_engine(self) -> None:
        """Ask the engine core, and now and then its workers.

        Ray's and vLLM's own `check_health` only read a flag that is set when the
        engine core has died; one that is stopped or stuck looks well to them.
        """
        if self._is_away:
            # Its workers must not be asked: each would spin for a second.
            return
        client = self.engine.client
        has_work = self._endpoint.guard.in_flight > 0
        question = self._liveness.ask(client, has_work=has_work)
        try:
            await answer_or_engine_death(question, client.check_health)
        except Exception:
            # It may have been told to end while it was asked.
            if not self._is_away:
                raise

    @property
    def _is_away(self) -> bool:
        """Whether the engine sleeps, is gone, or is on its way."""
        return self._switch is not None and self._switch.phase is not Phase.AWAKE

    async def check_health(self) -> None:
        if not self._is_away:
            await LLMServer.check_health(self)

    async def __del__(self) -> None:
        await self._close()
        await LLMServer.__del__(self)


def offload(config: LLMConfig, wanted: HostKvCache, memory: HostMemory, cards: int) -> None:
    """Turn on the second-level cache, in the size that a host with so many cards has room for."""
    engine = config.get_engine_config()
    own: int = engine.num_devices  # type: ignore[union-attr]  # it is never None
    size = host_cache_gib(wanted, memory, cards=own, cards_on_host=cards)
    if size is None:
        logger.warning("%s: no room in host memory for KV (%s)", config.model_id, memory)
        return
    logger.info("%s: %.0f GiB of host memory for KV (%s)", config.model_id, size, memory)
    config.update_engine_kwargs(kv_offloading_size=size)


def _cards_here() -> int:
    here = ray.get_runtime_context().get_node_id()
    return int(
        sum(node["Resources"].get("GPU", 0) for node in ray.nodes() if node["NodeID"] == here)
    )

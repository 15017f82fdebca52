"""A vLLM engine that gives its card to others. Importing this imports vLLM.

On cards it sleeps at level 1: its weights go to host memory, its KV cache is dropped, and its
processes, graphs and compiled kernels stay. On the CPU vLLM has no sleep (0.29.0:
`v1/worker/cpu_worker.py` logs a warning and does nothing), so an engine there is unloaded: its
processes end, and waking it starts new ones. The replica and its endpoint stay in both cases.
"""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

from ray.llm._internal.serve.utils.node_initialization_utils import initialize_node
from starlette.types import ASGIApp

from router.types import Task
from serve_app.engine.cards.own_cards import cards_of_engine
from serve_app.engine.lane_engine import LaneEngine
from serve_app.engine.sleeping.engine import EngineFacts

if TYPE_CHECKING:
    from serve_app.engine.lane_deployment import LaneServer

END_WITHIN_S = 5.0
"""For the engine core to end by itself; then it is killed. Nothing runs in it by then, and on
the CPU it never ends by itself within 20 s (0.29.0)."""

GIB = 2**30


class PooledEngine(LaneEngine):
    """An engine that starts beside a running event loop, and can be ended.

    Ray starts vLLM on the event loop, which stands still for the whole load. That is of no
    account while a replica is constructed; later on its watchdog would end it.
    """

    _made: tuple[Any, Any] | None = None

    async def start(self) -> None:
        callback: Any = self.llm_config.get_or_create_callback()
        context = callback.ctx
        if context.run_init_node:
            await initialize_node(self.llm_config)
            context.run_init_node = False
        self._made = await asyncio.to_thread(self._make, context)
        await super().start()

    def _make(self, context: Any) -> tuple[Any, Any]:
        prepared = super()._prepare_engine_config(context)
        arguments, _, config = prepared
        client = super()._start_async_llm_engine(arguments, config, context.placement_group)
        return prepared, client

    def _prepare_engine_config(self, callback_ctx: Any) -> Any:
        if self._made is None:
            return super()._prepare_engine_config(callback_ctx)
        return self._made[0]

    def _start_async_llm_engine(self, *_: Any) -> Any:
        """Hand out the engine that was started on a thread."""
        return self._made[1] if self._made is not None else None

    async def end(self) -> None:
        """End the engine's processes, and wait until they are gone."""
        await self.shutdown()
        made, self._made = self._made, None
        if made is None:
            return
        client = made[1]
        if client.output_handler is not None:
            # It would log the engine's end as a fault.
            client.output_handler.cancel()
        await asyncio.to_thread(client.shutdown, END_WITHIN_S)


class VllmSleeper:
    """A `SleepyEngine` for the replica that has it."""

    def __init__(self, server: LaneServer, model_id: str, task: Task, *, has_card: bool) -> None:
        self._server, self._model_id, self._task = server, model_id, task
        self._has_card = has_card

    async def load(self) -> ASGIApp:
        await self._server.start()  # type: ignore[no-untyped-call]  # Ray's
        app: ASGIApp = await self._server.build_app()
        return app

    async def warm(self) -> None:
        await self._server.warm_engine(self._model_id, self._task)

    async def unload(self) -> None:
        engine = self._server.engine
        self._server.engine = None  # type: ignore[assignment]  # Ray's own value for it
        if isinstance(engine, PooledEngine):
            await engine.end()
        del engine
        # Its objects refer to each other; some hold sockets and shared memory.
        gc.collect()

    async def sleep(self) -> None:
        await self._server.engine.client.sleep(level=1)

    async def wake(self) -> None:
        await self._server.engine.client.wake_up()

    async def facts(self) -> EngineFacts:
        """Ask the workers; on the CPU there is nothing that they would have to say."""
        if not self._has_card:
            return EngineFacts(frozenset())
        client = self._server.engine.client
        cards = await cards_of_engine(client)
        weights: list[int] = await client.collective_rpc("held_weights")
        return EngineFacts(cards or None, sum(weights) / GIB)

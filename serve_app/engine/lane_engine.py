"""Ray's vLLM engine, as lanes start it. Importing this imports vLLM (about 10 s)."""

from __future__ import annotations

from typing import Any

from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
from vllm.engine.protocol import EngineClient


class LaneEngine(VLLMEngine):
    """Ray's vLLM engine, with the executor that the fleet file names."""

    @property
    def client(self) -> EngineClient:
        """The engine of vLLM itself, once it has started: Ray does not pass every question on."""
        return self._engine_client  # type: ignore[return-value]  # Ray's says None for ever

    def _prepare_engine_config(self, callback_ctx: Any) -> Any:
        """Ray gives every engine on a CPU worker processes, and so does vLLM.

        vLLM does it because a worker's threads are bound by its environment; the fleet
        file asks for `uni` where nothing is bound.
        """
        arguments, frontend, config = super()._prepare_engine_config(callback_ctx)
        if self.llm_config.engine_kwargs.get("distributed_executor_backend") == "uni":
            config.parallel_config.distributed_executor_backend = "uni"
        return arguments, frontend, config

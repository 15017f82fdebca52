"""The deployment around one lane's vLLM engine.

`ray.serve.llm`'s own server starts and watches vLLM; `LaneEndpoint` adds the
endpoint that the ingress relays from. Importing this imports vLLM (about 10 s).
"""

from __future__ import annotations

from ray.serve.llm import LLMConfig
from ray.serve.llm.deployment import LLMServer

from serve_app.lane_endpoint import LaneEndpoint


class LaneServer(LaneEndpoint, LLMServer):
    """One vLLM engine and its endpoint."""

    async def __init__(  # type: ignore[misc]
        self, llm_config: LLMConfig, *, lane: str, secret: str, host: str
    ) -> None:
        await LLMServer.__init__(self, llm_config)
        app = await self.engine.build_asgi_app()
        await self._open(app, lane=lane, model_id=llm_config.model_id, secret=secret, host=host)

    async def __del__(self) -> None:  # type: ignore[override]
        await self._close()
        await LLMServer.__del__(self)

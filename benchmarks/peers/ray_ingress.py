"""Ray's own OpenAI ingress before the simulated engine.

`ray.serve.llm.build_openai_app` as Ray ships it: `OpenAiIngress` calls `LLMServer`
over a deployment handle; only the engine inside `LLMServer` is the simulated one.
Ray's defaults stand (streams are batched every 50 ms), except for one replica each,
small CPU reservations, and no access log, which Pointsman does not write either.

    python -m benchmarks.peers.ray_ingress --port 8000 --ttft-s 0.02 --itl-s 0.05

The environment says what stands before it: with RAY_SERVE_ENABLE_HA_PROXY=1 and
RAY_SERVE_THROUGHPUT_OPTIMIZED=1 HAProxy, without them Ray's Python proxy. Ray reads
both at import, and so must every process of the deployment: set them beforehand.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator
from random import Random
from typing import Any, NoReturn

from ray.llm._internal.serve.core.configs.openai_api_models import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ErrorInfo,
    ErrorResponse,
)
from ray.llm._internal.serve.core.engine.protocol import LLMEngine
from ray.serve import Application
from ray.serve.llm import LLMConfig, LLMServer, build_openai_app

from benchmarks.peers.serving import serve_until_interrupted
from simulator.http.answers import Choice, choices_of
from simulator.http.asks import BadAsk, read_chat
from simulator.http.forms.openai import ChatForm
from simulator.model.engine import Sequence
from simulator.model.fixed import FixedEngine
from simulator.model.profile import FixedTiming
from simulator.model.realtime import RealTimeEngine

MODEL_ID = "simulated-chat"
WINDOW_TOKENS = 131_072
REPLICA = {"num_replicas": 1, "ray_actor_options": {"num_cpus": 0.1}}
TIMING = "simulated_timing"


class SimulatedLLMEngine(LLMEngine):
    """The simulated engine as Ray's `LLMEngine`.

    It yields what `VLLMEngine` yields (server-sent events as text, or one
    `ChatCompletionResponse`) and does less for it: no tokenizer, no engine process,
    no pydantic model per event.
    """

    def __init__(self, llm_config: LLMConfig) -> None:
        timing = FixedTiming.model_validate(llm_config.experimental_configs[TIMING])
        self._model_id = llm_config.model_id
        self._clock = RealTimeEngine(FixedEngine(timing))
        self._random = Random()

    async def start(self) -> None:
        """There is nothing to load."""

    def routing_stats(self) -> dict[str, Any]:
        """Nothing that a request router could use."""
        return {}

    async def reset_prefix_cache(self) -> None:
        """There is no prefix cache."""

    async def chat(  # type: ignore[override]  # Ray's own is no generator: its body is `pass`
        self, request: ChatCompletionRequest, raw_request_info: object = None
    ) -> AsyncGenerator[str | ChatCompletionResponse | ErrorResponse, None]:
        del raw_request_info
        try:
            ask = read_chat(request.model_dump(exclude_unset=True), trims=False)
        except BadAsk as error:
            yield _refusal(str(error))
            return
        choices = choices_of(ask, WINDOW_TOKENS, None, self._random)
        if len(choices) != 1:
            yield _refusal("n: one choice only")
            return
        form = ChatForm(ask, self._model_id, self._random)
        if ask.stream:
            async for events in self._events(choices[0], form):
                yield events.decode()
        else:
            async for _ in self._steps(choices[0]):
                pass
            yield ChatCompletionResponse(**form.whole(choices))

    async def _events(self, choice: Choice, form: ChatForm) -> AsyncGenerator[bytes, None]:
        async for first, last in self._steps(choice):
            write = form.delta if first else form.begin
            yield write(choice, first, last)
        yield form.end([choice])

    async def _steps(self, choice: Choice) -> AsyncGenerator[tuple[int, int], None]:
        """Numbers [first, last) of the tokens, as they come."""
        total = len(choice.tokens)
        # The engine has no KV cache, so nobody asks for the keys of its blocks.
        stream = self._clock.submit(Sequence(len(choice.prompt), total, int))
        try:
            last = 0
            while last < total:
                first, last = await stream.take()
                yield first, last
        finally:
            self._clock.abort(stream)

    async def resolve_lora(self, lora_model: object) -> NoReturn:
        raise NotImplementedError

    def completions(self, request: object, raw_request_info: object = None) -> NoReturn:
        raise NotImplementedError

    embeddings = transcriptions = completions


class SimulatedLLMServer(LLMServer):
    """Ray's `LLMServer` with the simulated engine in it."""

    _default_engine_cls = SimulatedLLMEngine  # type: ignore[assignment]  # Ray says None for ever


def build(args: dict[str, Any]) -> Application:
    """Build the graph: Ray's ingress and one `LLMServer`.

    Args:
        args: `ttft_s` and `itl_s`, as numbers or text (0.02 and 0.05 by default), and
            `in_step`.

    """
    timing = FixedTiming.model_validate({"ttft_s": 0.02, "itl_s": 0.05, **args}, strict=False)
    config = LLMConfig(
        model_loading_config={"model_id": MODEL_ID},
        accelerator_config={"kind": "cpu"},
        placement_group_config={"bundles": [{"CPU": 0.1}]},
        server_cls=SimulatedLLMServer,
        deployment_config=REPLICA,
        experimental_configs={TIMING: timing.model_dump()},
    )
    return build_openai_app({"llm_configs": [config], "ingress_deployment_config": REPLICA})


def _refusal(message: str) -> ErrorResponse:
    error = ErrorInfo(message=message, type="invalid_request_error", code=400)
    return ErrorResponse(error=error)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--ttft-s", type=float, default=0.02)
    parser.add_argument("--itl-s", type=float, default=0.05)
    parser.add_argument("--out-of-step", action="store_true")
    options = parser.parse_args()
    timing = {
        "ttft_s": options.ttft_s,
        "itl_s": options.itl_s,
        "in_step": not options.out_of_step,
    }
    # Not this module, which is `__main__` here: replicas import it by its name.
    from benchmarks.peers import ray_ingress  # noqa: PLW0406

    serve_until_interrupted(ray_ingress.build(timing), "ray-ingress", options.host, options.port)


if __name__ == "__main__":
    main()

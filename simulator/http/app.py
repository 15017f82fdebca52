"""The simulated engine as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import orjson
from pydantic import ValidationError

from simulator.http import asks
from simulator.http.answers import Choice, block_keys, choices_of
from simulator.http.delivery import Delivery, Send, respond
from simulator.http.exposition import Exposition
from simulator.http.faults import Faults, die
from simulator.http.forms.base import SIMULATED
from simulator.http.forms.messages import MessageForm
from simulator.http.forms.openai import ChatForm, CompletionForm
from simulator.http.forms.responses import ResponseForm
from simulator.http.pooling import POOLED, BadInput, read_all
from simulator.http.reading import Receive, Refused, disconnected, json_object, read_body
from simulator.http.scripted import READERS, scripted_choices
from simulator.http.scripted_forms.messages import UnreadableCall
from simulator.http.scripted_forms.table import SCRIPTED_FORMS
from simulator.http.spec import EngineSpec
from simulator.model.engine import BatchingEngine, Sequence
from simulator.model.fixed import FixedEngine
from simulator.model.profile import FixedTiming, Profile
from simulator.model.realtime import Engine, RealTimeEngine, Stream
from simulator.model.text import detokenize
from simulator.script.answer import answer_of
from simulator.script.model import Script, load_script

Scope = MutableMapping[str, Any]


class SimulatedEngineApp:
    """vLLM's generation routes, `/metrics`, `/health`, `/v1/models`, `/tokenize`, `/detokenize`."""

    def __init__(self, spec: EngineSpec, *, on_death: Callable[[], None] = die) -> None:
        self.spec = spec
        self._on_death = on_death
        self._random = Random(spec.seed)
        engine: Engine
        if isinstance(spec.timing, Profile):
            scheduling = spec.timing.scheduling
            engine = BatchingEngine(spec.timing.timing, scheduling, lists_decoded=True)
            self._block_size, blocks = scheduling.block_size, scheduling.num_gpu_blocks
            self._overhead_s = spec.timing.timing.request_overhead_ms / 1000
            self._mean = spec.timing.mean_output_tokens
        else:
            engine = FixedEngine(spec.timing)
            self._block_size, blocks = 16, 0
            self._overhead_s, self._mean = 0.0, None
        self.engine = engine
        self.clock = RealTimeEngine(engine)
        self.exposition = Exposition(engine, spec.model_id, blocks, self._block_size)
        self.script = spec.script or _script_of(spec.timing)
        self._faults = spec.faults
        self._apply(spec.faults)
        trims = spec.trims_template
        self._generators: dict[str, tuple[Callable[[dict[str, Any]], asks.Ask], type[Any]]] = {
            "/v1/chat/completions": (lambda b: asks.read_chat(b, trims=trims), ChatForm),
            "/v1/completions": (asks.read_completion, CompletionForm),
            "/v1/messages": (lambda b: asks.read_message(b, trims=trims), MessageForm),
            "/v1/responses": (lambda b: asks.read_response(b, trims=trims), ResponseForm),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/")
        try:
            if scope["method"] in ("GET", "HEAD"):
                await self._get(path, send)
                return
            body = json_object(await read_body(receive))
            if path in POOLED and self.spec.is_pooling:
                await self._pool(path, body, send)
            elif path in self._generators and not self.spec.is_pooling:
                await self._generate(path, body, receive, send)
            else:
                await self._post(path, body, send)
        except Refused as refused:
            error = {
                "message": str(refused),
                "type": refused.kind,
                "param": None,
                "code": refused.status,
            }
            await respond(send, refused.status, orjson.dumps({"error": error}))

    # -- everything that is not generation -------------------------------------

    async def _get(self, path: str, send: Send) -> None:
        if path == "/metrics":
            await respond(send, 200, self.exposition.render(), b"text/plain; version=0.0.4")
        elif path in ("/health", "/ping", "/v1/models", "/version", "/simulated/faults"):
            await respond(send, 200, orjson.dumps(self._describe(path)))
        else:
            raise Refused(404, "NotFoundError", "Not Found")

    def _describe(self, path: str) -> dict[str, Any]:
        if path == "/v1/models":
            model = {
                "id": self.spec.model_id,
                "object": "model",
                "created": 0,
                "owned_by": SIMULATED,
                "max_model_len": self.spec.window_tokens,
            }
            return {"object": "list", "data": [model]}
        if path == "/simulated/faults":
            return self._faults.model_dump()
        return {"version": SIMULATED} if path == "/version" else {}

    async def _post(self, path: str, body: dict[str, Any], send: Send) -> None:
        if path == "/v1/messages/count_tokens":
            ask = self.read("/v1/messages", {**body, "max_tokens": 1})
            await respond(send, 200, orjson.dumps({"input_tokens": len(ask.prompts[0])}))
        elif path == "/tokenize":
            route = "/v1/chat/completions" if "messages" in body else "/v1/completions"
            ids = list(self.read(route, body).prompts[0])
            answer = {
                "count": len(ids),
                "max_model_len": self.spec.window_tokens,
                "tokens": ids,
            }
            await respond(send, 200, orjson.dumps(answer))
        elif path == "/detokenize":
            try:
                text = detokenize(body.get("tokens") or ())
            except (TypeError, ValueError) as error:
                raise Refused(400, "BadRequestError", str(error)) from error
            await respond(send, 200, orjson.dumps({"prompt": text}))
        elif path == "/simulated/faults":
            try:
                self._apply(Faults.model_validate(body))
            except ValidationError as error:
                raise Refused(400, "BadRequestError", str(error)) from error
            await respond(send, 200, orjson.dumps(self._faults.model_dump()))
        else:
            raise Refused(404, "NotFoundError", "Not Found")

    def _apply(self, faults: Faults) -> None:
        self._faults = faults
        self.engine.slowdown = faults.slowdown
        if faults.die:
            self._on_death()

    # -- embeddings and scores --

    async def _pool(self, path: str, body: dict[str, Any], send: Send) -> None:
        self._check_model(body)
        try:
            pooled = POOLED[path](body)
        except (BadInput, KeyError, TypeError, AttributeError, ValueError) as error:
            raise Refused(400, "BadRequestError", str(error) or "bad request") from error
        window = self.spec.window_tokens
        longest = max(map(len, pooled.prompts))
        if longest > window:
            message = f"Input length ({longest}) exceeds model's maximum context length ({window})."
            raise Refused(400, "BadRequestError", message)
        fault = self._faults.strike(pooled.newest, self._random)
        if fault == "fail":
            raise Refused(500, "InternalServerError", "simulated fault")
        if fault == "die":
            self._on_death()
        if fault == "hang":
            await asyncio.Event().wait()
        if fault == "cut":
            raise ConnectionAbortedError("simulated cut")
        await read_all(self.clock, self.exposition, pooled.prompts)
        await respond(send, 200, orjson.dumps(pooled.answer(self.spec.model_id)))

    # -- generation ----------------------------------------------------------------

    def read(self, path: str, body: dict[str, Any]) -> asks.Ask:
        """Return what the body of a route that generates asks for; raises Refused."""
        self._check_model(body)
        try:
            ask = self._generators[path][0](body)
        except (asks.BadAsk, KeyError, TypeError, AttributeError, ValueError) as error:
            raise Refused(400, "BadRequestError", str(error) or "bad request") from error
        window = self.spec.window_tokens
        longest = max(map(len, ask.prompts))
        if longest + (ask.max_tokens or 1) > window:
            message = (
                f"This model's maximum context length is {window} tokens. However, you requested "
                f"{ask.max_tokens or 1} output tokens and your prompt contains {longest} input "
                "tokens."
            )
            raise Refused(400, "BadRequestError", message)
        return ask

    def _check_model(self, body: dict[str, Any]) -> None:
        if body.get("model") not in (None, "", self.spec.model_id):
            message = f"The model `{body['model']}` does not exist."
            raise Refused(404, "NotFoundError", message)

    async def _generate(
        self, path: str, body: dict[str, Any], receive: Receive, send: Send
    ) -> None:
        form_type, ask = self._generators[path][1], self.read(path, body)
        fault = self._faults.strike(ask.newest, self._random)
        if fault == "fail":
            raise Refused(500, "InternalServerError", "simulated fault")
        if fault == "die":
            self._on_death()
        choices = self.scripted(path, body, ask)
        if choices:
            form_type = SCRIPTED_FORMS[path]
        form = form_type(ask, self.spec.model_id, self._random)
        answering = asyncio.ensure_future(self._answer(ask, form, choices, send, fault))
        leaving = asyncio.ensure_future(disconnected(receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            leaving.cancel()
            if not answering.done():
                answering.cancel()
                await asyncio.wait({answering})

    def scripted(self, path: str, body: dict[str, Any], ask: asks.Ask) -> list[Choice]:
        """Return the choices of the script's answer; none where it has none."""
        is_formatted = ask.script is not None and ask.tool is None
        if self.script is None or path not in READERS or is_formatted:
            return []
        try:
            asked = READERS[path](body)
        except (KeyError, TypeError, AttributeError) as error:
            raise Refused(400, "BadRequestError", f"bad request: {error}") from error
        # The same request goes wrong in the same way, on another model in another.
        seed = f"{self.spec.model_id} {crc32(ask.prompts[0].tobytes())} {asked.choice}"
        answer = answer_of(self.script, asked, seed)
        if answer is None:
            return []
        ask.namespaces, ask.echoed = asked.namespaces, body
        demanded = "" if asked.choice in ("auto", "none") else asked.choice
        return [*scripted_choices(ask, answer, demanded, self.spec.window_tokens)]

    async def _answer(
        self, ask: asks.Ask, form: Any, choices: list[Choice], send: Send, fault: str
    ) -> None:
        if fault == "hang":
            await asyncio.Event().wait()
        if self._overhead_s:
            await asyncio.sleep(self._overhead_s * self._faults.slowdown)
        choices = choices or choices_of(ask, self.spec.window_tokens, self._mean, self._random)
        begun = asyncio.get_running_loop().time()
        streams = [(choice, self._submit(choice, ask)) for choice in choices]
        delivery = Delivery(form, send, self.exposition.token, is_cut=fault == "cut")
        try:
            await (delivery.stream if ask.stream else delivery.whole)(streams)
        except UnreadableCall as error:
            # vLLM tells the client that its request was bad.
            raise Refused(400, "BadRequestError", str(error)) from error
        finally:
            for choice, stream in streams:
                self.clock.abort(stream)
                done = choice.index in delivery.done
                self._account(choice, stream.sequence, begun, is_done=done)

    def _submit(self, choice: Choice, ask: asks.Ask) -> Stream:
        keys = block_keys(choice.prompt, choice.tokens, self._block_size, ask.cache_salt)
        sequence = Sequence(len(choice.prompt), len(choice.tokens), keys, ask.priority)
        try:
            return self.clock.submit(sequence)
        except ValueError as error:
            raise Refused(400, "BadRequestError", str(error)) from error

    def _account(self, choice: Choice, sequence: Sequence, begun: float, *, is_done: bool) -> None:
        first = sequence.first_token_at
        if first is not None:
            queued = (sequence.scheduled_at or begun) - begun
            ttft = first - begun + self._overhead_s
            self.exposition.first_token(
                ttft, queued, sequence.prompt_tokens, sequence.cached_tokens
            )
        finish = choice.finish if is_done else "abort"
        tokens = len(choice.tokens) if is_done else sequence.generated
        until = sequence.finished_at or begun
        self.exposition.ended(
            "stop" if finish == "tool_calls" else finish,
            until - begun + self._overhead_s,
            (first or begun) - begun + self._overhead_s,
            tokens,
        )


def _script_of(timing: Profile | FixedTiming) -> Script | None:
    named = timing.script if isinstance(timing, Profile) else None
    return None if named is None else load_script(Path(named))

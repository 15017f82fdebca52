"""What a lane replica does before it takes traffic: a dummy turn, then hot prefixes.

Serve lists a replica only when its constructor has returned, so whatever is done here
is done before the first request. The dummy turn has to succeed; prefixes are a
kindness to the first users, with a time limit, and whatever goes wrong with them is
left out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any, NotRequired, TypedDict

import aiohttp

from router.placement.hot_prefixes import HotPrefix, merge
from router.types import Task
from serve_app.bodies.prefixes import request_of
from serve_app.config.serving import WarmUpConfig

logger = logging.getLogger("ray.serve")

DUMMY_TURN_TIMEOUT_S = 180.0


class Exported(TypedDict):
    """A hot prefix as an ingress replica tells it: the salt stands for its cache group.

    `key` and `age_s` are as in `HotPrefix`; an ingress of an older version has none.
    """

    salt: str
    prefix: bytes
    weight: float
    key: NotRequired[bytes]
    age_s: NotRequired[float]


async def _ask(
    http: aiohttp.ClientSession, model_id: str, text: str, **more: Any
) -> tuple[int, str]:
    """Have the engine answer one message; return the answer's status and text."""
    body = {"model": model_id, "messages": [{"role": "user", "content": text}], **more}
    timeout = aiohttp.ClientTimeout(total=DUMMY_TURN_TIMEOUT_S)
    async with http.post("/v1/chat/completions", json=body, timeout=timeout) as response:
        return response.status, await response.text()


async def dummy_turn(http: aiohttp.ClientSession, model_id: str) -> None:
    """Run one short turn: the first inference compiles and allocates.

    (8 to 12 s of CUDA graph work on a 4090, 3 s on a CPU.)

    Raises:
        RuntimeError: it was not answered; this replica is no good.

    """
    status, text = await _ask(http, model_id, "Say hello.", max_tokens=4, stream=True)
    if status != 200 or "data:" not in text:
        raise RuntimeError(f"warm-up turn failed ({status})")


async def dummy_inputs(http: aiohttp.ClientSession, model_id: str, task: Task) -> None:
    """Have an engine that writes nothing do once what it is for.

    Raises:
        RuntimeError: it was not done; this replica is no good.

    """
    path, asked = "/v1/embeddings", {"input": "hello"}
    if task is Task.SCORE:
        path, asked = "/score", {"queries": "hello", "documents": "hello"}
    timeout = aiohttp.ClientTimeout(total=DUMMY_TURN_TIMEOUT_S)
    body = {"model": model_id, **asked}
    async with http.post(path, json=body, timeout=timeout) as response:
        if response.status != 200:
            raise RuntimeError(f"warm-up of {path} failed ({response.status})")


async def first_grammar(http: aiohttp.ClientSession, model_id: str) -> None:
    """Answer within a grammar once: the first one decides how this engine reads them all.

    The pinned vLLM keeps the reader (xgrammar, or the one for what xgrammar cannot read) of
    the first structured request that it gets. Were that a client's, with an expression that
    only the other one knows, every forced tool call would fail here from then on.
    """
    grammar = {"choice": ["yes", "no"]}
    status, _ = await _ask(http, model_id, "Yes or no?", max_tokens=1, structured_outputs=grammar)
    if status != 200:
        # A model that cannot be held to a grammar serves all else.
        logger.warning("no grammars here: the first one got status %d", status)


async def prefill(
    http: aiohttp.ClientSession, model_id: str, hot: Iterable[HotPrefix], within_s: float
) -> int:
    """Have the engine read each prefix, hottest first, for `within_s`; return how many it has.

    `hot`: their `group` is the cache salt.
    """
    done = 0
    deadline = time.monotonic() + within_s
    for one in hot:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        path, body = request_of(one.prefix, model=model_id, cache_salt=one.group)
        try:
            timeout = aiohttp.ClientTimeout(total=left)
            async with http.post(path, json=body, timeout=timeout) as response:
                await response.read()
                done += response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            continue
    return done


async def hot_prefixes(app: str, lane: str, count: int, within_s: float) -> list[HotPrefix]:
    """What the ingress replicas say is asked for most; nothing when none answers in time."""
    from ray import serve
    from ray.serve.exceptions import DeploymentUnavailableError, RayServeException

    from serve_app.transport.broadcast import ask_all

    begun = time.monotonic()
    try:
        async with asyncio.timeout(within_s):
            # The first start of all: there may be no ingress yet.
            ingress = await asyncio.to_thread(serve.get_deployment_handle, "ingress", app)
        left = begun + within_s - time.monotonic()
        answers = await ask_all(ingress, "hot_prefixes", lane, count, within_s=left)
    except (TimeoutError, DeploymentUnavailableError, RayServeException) as error:
        logger.info("lane '%s': no hot prefixes (%s)", lane, type(error).__name__)
        return []
    return together(answers, count)


def together(answers: list[Any], count: int) -> list[HotPrefix]:
    """The hottest of what several ingress replicas answered; faults are left out."""
    parts = [
        [
            HotPrefix(x["salt"], x["prefix"], x["weight"], x.get("key", b""), x.get("age_s", 0.0))
            for x in answer
        ]
        for answer in answers
        if isinstance(answer, list)
    ]
    return merge(parts, count)


async def warm_up(
    http: aiohttp.ClientSession,
    app: str,
    lane: str,
    model_id: str,
    config: WarmUpConfig,
    task: Task = Task.GENERATE,
) -> None:
    started = time.monotonic()
    if task is not Task.GENERATE:
        await dummy_inputs(http, model_id, task)
        logger.info("lane '%s' warmed: %.1f s", lane, time.monotonic() - started)
        return
    await dummy_turn(http, model_id)
    await first_grammar(http, model_id)
    turned = time.monotonic()
    hot = []
    if config.prefixes:
        hot = await hot_prefixes(app, lane, config.prefixes, config.ask_within_s)
    done = await prefill(http, model_id, hot, config.within_s)
    logger.info(
        "lane '%s' warmed: dummy turn %.1f s, %d of %d hot prefixes %.1f s",
        lane,
        turned - started,
        done,
        len(hot),
        time.monotonic() - turned,
    )

"""What `pointsman classifier label` and `replay` ask of a running deployment."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp

from evals.cascade.signals import prompt_surprise, record, tokens_of
from evals.replay.said import CHAT
from evals.traces.trace import EVALS_ID
from serve_app.commands.client import CommandError
from serve_app.config.errors import nearest

REQUEST_TIMEOUT_S = 600.0
ASK_SIGNALS = {"logprobs": True, "top_logprobs": 20, "prompt_logprobs": 0}
"""20 is the most that OpenAI's API allows, and vLLM unless it is told otherwise (`max_logprobs`);
0 is the prompt's own tokens. vLLM then reads the whole prompt, whatever its cache has of it."""

RETRY_LIMIT_S = 300.0
"""A request that is refused with 429 or 503 waits this long in all, then it fails."""

_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 30.0
_PASSING = (429, 503)
_FATAL = (401, 403, 404)
_NEVER = (400, 413, 422)
_CODE = re.compile(r"[a-z0-9_]{1,64}")


class SampleFailed(Exception):
    """Why a sample has no outcome; its prompt is skipped. Holds no text of a prompt."""


class LaneRefused(SampleFailed):
    """The lane will not answer this request, however often it is asked: `code` says why."""

    def __init__(self, lane: str, code: str) -> None:
        super().__init__(f"{lane}: {code}")
        self.code = code


def http_session(key: str) -> aiohttp.ClientSession:
    """A session that sends this key, if there is one."""
    return aiohttp.ClientSession(
        headers={"authorization": f"Bearer {key}"} if key else {},
        # No kept connection that the other side closes just when a POST goes out.
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
    )


@dataclass(frozen=True)
class Answer:
    """One answer: its text, the id of the model, whether `max_tokens` cut it.

    `signals`: what `evals.cascade.signals` records of it, where it was asked for.
    """

    text: str
    model: str
    is_cut: bool
    signals: dict[str, Any] | None = None


@dataclass(frozen=True)
class Reply:
    """The body of an answer as it came, and the id of the model."""

    body: Any
    model: str


class Deployment:
    """A running deployment: at most `concurrency` requests at a time, waits included."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        url: str,
        *,
        concurrency: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        patience_s: float = RETRY_LIMIT_S,
    ) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._free = asyncio.Semaphore(concurrency)
        self._sleep = sleep
        self._patience_s = patience_s

    async def lanes_of(self, names: Iterable[str]) -> list[str]:
        """The lanes behind names of lanes or models, or CommandError with the nearest name."""
        try:
            async with self._http.get(f"{self._url}/v1/models", allow_redirects=False) as response:
                if response.status != 200:
                    raise CommandError(f"GET /v1/models: {await _refusal(response)}")
                models = (await response.json(content_type=None))["data"]
                known = {x["id"]: x["lane"] for x in models if "lane" in x}
        except (aiohttp.ClientError, OSError) as error:
            raise CommandError(f"nothing answers at {self._url}: is it running?") from error
        except (ValueError, KeyError, TypeError) as error:
            raise CommandError(f"what answers at {self._url} is not Pointsman") from error
        return [_lane(name, known) for name in names]

    async def ask(
        self,
        lane: str,
        messages: list[dict[str, Any]],
        *,
        seed: int,
        temperature: float,
        max_tokens: int,
        session: str,
        with_signals: bool = False,
    ) -> Answer:
        """Sample one answer of a lane, which is pinned; `max_tokens` is the longest.

        `session` keeps the samples of a prompt on one replica, apart from real sessions. Raises
        SampleFailed when there is no answer, CommandError when there never will be.
        """
        body = {
            "model": lane,
            "messages": messages,
            "seed": seed,
            "temperature": temperature,
            "max_tokens": max_tokens,
            **(ASK_SIGNALS if with_signals else {}),
        }
        headers = {"x-session-id": session}
        reply = await self.send(lane, CHAT, body, headers)
        return _answer(lane, reply, with_signals=with_signals)

    async def send(
        self, lane: str, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Reply:
        """Post a body that pins a lane; 429 and 503 are waited for. Raises as `ask` does.

        The request's id says that an eval has asked: traces of it are no traffic.
        """
        waited_s, attempt = 0.0, 0
        async with self._free:
            while True:
                own = {"x-request-id": EVALS_ID + uuid4().hex, **headers}
                found = await self._try_send(lane, path, body, own)
                if isinstance(found, Reply):
                    return found
                wait_s = found.wait_s(attempt)
                if waited_s + wait_s > self._patience_s:
                    raise SampleFailed(f"{lane}: {found.why}")
                waited_s += wait_s
                attempt += 1
                await self._sleep(wait_s)

    async def _try_send(
        self, lane: str, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Reply | _Refused:
        try:
            async with self._http.post(
                self._url + path, json=body, headers=headers, allow_redirects=False
            ) as response:
                if response.status != 200:
                    return await _refused(lane, response)
                return _reply(lane, await response.json(content_type=None), response.headers)
        except (aiohttp.ClientError, OSError) as error:
            raise SampleFailed(f"{lane}: {type(error).__name__}") from error
        except ValueError as error:
            raise SampleFailed(f"{lane}: unreadable answer") from error


@dataclass(frozen=True)
class _Refused:
    why: str
    retry_after_s: float | None

    def wait_s(self, attempt: int) -> float:
        """Seconds until the next attempt: as long as was asked for, else ever longer."""
        least = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(attempt, 10))
        return max(_FIRST_WAIT_S, self.retry_after_s) if self.retry_after_s is not None else least


async def _refused(lane: str, response: aiohttp.ClientResponse) -> _Refused:
    why = await _refusal(response)
    if response.status in _FATAL:
        raise CommandError(f"lane '{lane}': {why}")
    if response.status in _NEVER:
        raise LaneRefused(lane, why)
    if response.status not in _PASSING:
        raise SampleFailed(f"{lane}: {why}")
    return _Refused(why, _seconds(response.headers.get("retry-after")))


async def _refusal(response: aiohttp.ClientResponse) -> str:
    """Status and code of a refusal; never its text, which may hold anything."""
    try:
        code = (await response.json(content_type=None))["error"]["code"]
    except (ValueError, KeyError, TypeError):
        code = None
    is_code = isinstance(code, str) and _CODE.fullmatch(code)
    return f"{response.status} {code}" if is_code else str(response.status)


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _reply(lane: str, body: Any, headers: Mapping[str, str]) -> Reply:
    by, model = headers.get("x-pointsman-lane"), headers.get("x-pointsman-model")
    if by != lane or not model:
        raise SampleFailed(f"{lane}: another lane answered")
    return Reply(body, model)


def _answer(lane: str, reply: Reply, *, with_signals: bool) -> Answer:
    try:
        choice = reply.body["choices"][0]
        text = choice["message"].get("content") or ""
        is_cut = choice.get("finish_reason") == "length"
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise SampleFailed(f"{lane}: unreadable answer") from error
    prompt = reply.body.get("prompt_logprobs")
    signals = _signals(lane, choice, prompt) if with_signals else None
    return Answer(str(text), reply.model, is_cut, signals)


def _signals(lane: str, choice: Any, prompt: Any) -> dict[str, Any]:
    """What the answer's log-probabilities say; the prompt's may be missing."""
    try:
        tokens = tokens_of(choice["logprobs"]["content"])
        surprise = prompt_surprise(prompt) if prompt else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SampleFailed(f"{lane}: no log-probabilities in the answer") from error
    if not len(tokens):
        raise SampleFailed(f"{lane}: an answer without a token has no signals")
    return record(tokens, surprise=surprise)


def _lane(name: str, known: Mapping[str, str]) -> str:
    if name not in known:
        raise CommandError(f"no lane '{name}' here that this key may use{nearest(name, known)}")
    return known[name]

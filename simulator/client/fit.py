"""A profile fitted to a running engine: measure, then least squares.

`measure` asks an OpenAI-compatible engine a few dozen short questions, one kind at a
time; `fit_timing` is pure. What is fitted is `simulator.model.profile.Timing`.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

import aiohttp

from simulator.client import prose
from simulator.client.load import StreamReader
from simulator.model.profile import Timing

PREFILL_TOKENS = (32, 64, 128, 256, 512, 1024)
BATCHES = (1, 2, 4, 8)
DECODE_TOKENS = 48
REPEATS = 3


@dataclass(slots=True)
class Measurements:
    """What was seen. Tokens, and seconds or milliseconds as named.

    Attributes:
        ttft_ms: (prompt tokens as the engine counts them, TTFT) of single prompts.
        step_ms: decode step by batch size, short contexts.
        context: (context tokens, decode step in ms) of a single sequence.
        pauses: (prompt tokens, batch, longest pause in ms) of streams beside a prefill.

    """

    ttft_ms: list[tuple[int, float]] = field(default_factory=list)
    step_ms: dict[int, float] = field(default_factory=dict)
    context: list[tuple[int, float]] = field(default_factory=list)
    pauses: list[tuple[int, int, float]] = field(default_factory=list)


def fit_timing(seen: Measurements) -> Timing:
    """Fit the profile's formula to measurements.

    TTFT over prompt length is a line: its slope is `prefill_ms_per_token`; its
    intercept is split into the fixed part of a step (a decode step at batch 1 is an
    upper bound of it) and what a request costs outside the engine. `interference`
    is what the pauses of streams beside a prefill leave after max(decode, prefill).

    Raises ValueError when there is too little to fit.
    """
    if len({tokens for tokens, _ in seen.ttft_ms}) < 2 or not seen.step_ms:
        raise ValueError("TTFT of two prompt lengths and one decode step are needed")
    intercept, slope = _line(seen.ttft_ms)
    slope = max(slope, 0.0)
    curve: dict[int, float] = {}
    for batch in sorted(seen.step_ms):
        # Noise may make a larger batch look faster; the curve only rises.
        curve[batch] = max(round(seen.step_ms[batch], 3), *curve.values(), 0.001)
    fixed = min(max(intercept, 0.0), next(iter(curve.values())))
    per_context = max(0.0, _line(seen.context)[1]) if len(seen.context) > 1 else 0.0
    shares = []
    for tokens, batch, pause in seen.pauses:
        decode, prefill = _at(curve, batch), fixed + slope * tokens
        low, high = sorted((decode, prefill))
        shares.append((pause - high) / low)
    reference = min((tokens for tokens, _ in seen.context), default=0)
    return Timing(
        decode_step_ms=curve,
        context_ns_per_token=round(per_context * 1e6, 1),
        reference_context=reference,
        prefill_ms_per_token=round(slope, 5),
        prefill_step_ms=round(fixed, 3),
        interference=round(min(1.0, max(0.0, statistics.median(shares))), 3) if shares else 0.0,
        request_overhead_ms=round(max(0.0, intercept - fixed), 3),
        warm_up_s=0,
    )


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Intercept and slope by the Theil-Sen estimator, which outliers do not bend."""
    slopes = [
        (b[1] - a[1]) / (b[0] - a[0])
        for i, a in enumerate(points)
        for b in points[i + 1 :]
        if a[0] != b[0]
    ]
    slope = statistics.median(slopes) if slopes else 0.0
    return statistics.median(y - slope * x for x, y in points), slope


def _at(curve: dict[int, float], batch: int) -> float:
    return curve.get(batch) or curve[min(curve, key=lambda b: abs(b - batch))]


async def measure(
    url: str,
    model: str,
    *,
    random: Random,
    headers: dict[str, str] | None = None,
    batches: Sequence[int] = BATCHES,
    prompts: Sequence[int] = PREFILL_TOKENS,
) -> Measurements:
    """Measure an engine that does nothing else meanwhile.

    Args:
        url: base URL, without /v1.
        model: its model id.
        random: makes prompts that no prefix cache has seen.
        headers: of every request.
        batches: batch sizes to decode at.
        prompts: prompt lengths to prefill, in the simulator's tokens (the engine's own
            count is what is fitted).

    Raises aiohttp.ClientError when the engine does not answer.

    """
    seen = Measurements()
    timeout = aiohttp.ClientTimeout(total=None, sock_read=300)
    async with aiohttp.ClientSession(headers=headers or {}, timeout=timeout) as http:
        probe = _Probe(http, f"{url}/v1/chat/completions", model, random)
        await probe.ask(32, 8)
        for _ in range(REPEATS):
            for tokens in prompts:
                one = await probe.ask(tokens, 1)
                seen.ttft_ms.append((one.prompt_tokens, 1000 * one.ttft_s))
        for batch in batches:
            answers = await probe.decode(batch)
            seen.step_ms[batch] = 1000 * statistics.median(a.itl_s for a in answers)
        for tokens in (min(prompts), max(prompts)):
            (one,) = await probe.decode(1, tokens)
            seen.context.append((one.prompt_tokens + DECODE_TOKENS // 2, 1000 * one.itl_s))
        for _ in range(REPEATS):
            seen.pauses.append(await probe.pause(max(prompts) // 2, batches[len(batches) // 2]))
    return seen


@dataclass(slots=True)
class _Answer:
    begun: float
    prompt_tokens: int
    times: list[float]

    @property
    def ttft_s(self) -> float:
        return self.times[0] - self.begun

    @property
    def itl_s(self) -> float:
        gaps = [b - a for a, b in pairwise(self.times)]
        return statistics.median(gaps[len(gaps) // 4 :])


class _Probe:
    def __init__(self, http: aiohttp.ClientSession, url: str, model: str, random: Random) -> None:
        self._http, self._url, self._model, self._random = http, url, model, random

    async def decode(self, batch: int, tokens: int = 32) -> list[_Answer]:
        """So many long answers at once, whose tokens came one after the other.

        All are asked for again where one's came mostly at once: somebody was late, here or
        there. Raises aiohttp.ClientPayloadError when that does not help.
        """
        for _ in range(REPEATS):
            asked = (self.ask(tokens, DECODE_TOKENS) for _ in range(batch))
            answers = await asyncio.gather(*asked)
            if all(len(set(answer.times)) >= DECODE_TOKENS // 8 for answer in answers):
                return answers
        raise aiohttp.ClientPayloadError("the engine's tokens come at once, not as a stream")

    async def ask(self, tokens: int, output: int) -> _Answer:
        """One streamed question that nothing has cached."""
        text = f"{self._random.getrandbits(64):x} {prose.everyday(tokens, self._random)}"
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": output,
            "min_tokens": output,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        begun = time.perf_counter()
        reader = StreamReader(begun)
        async with self._http.post(self._url, json=body) as response:
            response.raise_for_status()
            async for chunk in response.content.iter_any():
                reader.feed(chunk, time.perf_counter())
        if not reader.times:
            raise aiohttp.ClientPayloadError("the engine answered without a token")
        return _Answer(begun, reader.usage.get("prompt_tokens", 0), reader.times)

    async def pause(self, tokens: int, batch: int) -> tuple[int, int, float]:
        """The longest pause of `batch` streams while one prompt is prefilled."""
        streams = [asyncio.ensure_future(self.ask(32, 2 * DECODE_TOKENS)) for _ in range(batch)]
        await asyncio.sleep(0.5)
        prompt = await self.ask(tokens, 1)
        answers = await asyncio.gather(*streams)
        begun, ended = prompt.begun, prompt.times[-1]
        pauses = [
            b - a
            for answer in answers
            for a, b in pairwise(answer.times)
            if b > begun and a < ended
        ]
        longest = max(pauses, default=ended - begun)
        return prompt.prompt_tokens, batch, 1000 * longest

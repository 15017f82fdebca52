"""Fits of measurements that are known, and measuring an engine that is simulated."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random

import aiohttp
import httpx
import pytest
from aiohttp import web

from simulator.client.fit import REPEATS, Measurements, fit_timing, measure
from simulator.model.profile import FixedTiming, Timing
from tests.unit.simulator.test_http import running


def measured(timing: Timing) -> Measurements:
    """What an engine with this timing would show, without noise."""
    curve = timing.decode_step_ms
    fixed = timing.request_overhead_ms + timing.prefill_step_ms
    seen = Measurements(step_ms=dict(curve))
    seen.ttft_ms = [(n, fixed + timing.prefill_ms_per_token * n) for n in (30, 60, 500, 1000)]
    seen.context = [(n, curve[1] + timing.context_ns_per_token * n / 1e6) for n in (100, 1100)]
    for tokens, batch in ((500, 4), (500, 8)):
        prefill = timing.prefill_step_ms + timing.prefill_ms_per_token * tokens
        low, high = sorted((prefill, curve[batch]))
        seen.pauses.append((tokens, batch, high + timing.interference * low))
    return seen


def test_a_known_timing_is_found_again() -> None:
    true = Timing(
        decode_step_ms={1: 5.0, 4: 6.0, 8: 9.0},
        context_ns_per_token=65,
        reference_context=100,
        prefill_ms_per_token=0.07,
        prefill_step_ms=5.0,
        interference=0.3,
        request_overhead_ms=6.0,
    )
    assert fit_timing(measured(true)) == true


def test_outliers_do_not_bend_the_line() -> None:
    true = Timing(decode_step_ms={1: 5.0}, prefill_ms_per_token=0.07, prefill_step_ms=5.0)
    seen = measured(true.model_copy(update={"decode_step_ms": {1: 5.0, 4: 5.0, 8: 5.0}}))
    seen.ttft_ms.append((500, 900.0))
    assert fit_timing(seen).prefill_ms_per_token == pytest.approx(0.07)


def test_noise_cannot_make_the_curve_fall() -> None:
    seen = Measurements(ttft_ms=[(10, 5), (100, 6)], step_ms={1: 5.0, 2: 4.0, 4: 7.0})
    assert fit_timing(seen).decode_step_ms == {1: 5.0, 2: 5.0, 4: 7.0}


def test_too_little_to_fit() -> None:
    with pytest.raises(ValueError, match="two prompt lengths"):
        fit_timing(Measurements(ttft_ms=[(10, 5.0)], step_ms={1: 5.0}))


async def test_measuring_asks_for_every_kind() -> None:
    for url in running(FixedTiming(ttft_s=0.002, itl_s=0.002)):
        seen = await measure(url, "m", random=Random(1), batches=(1, 2), prompts=(32, 64))
        assert len(seen.ttft_ms) == 6 and {tokens for tokens, _ in seen.ttft_ms}
        assert set(seen.step_ms) == {1, 2} and len(seen.context) == 2 and len(seen.pauses) == 3
        assert fit_timing(seen).decode_step_ms.keys() == {1, 2}
        async with httpx.AsyncClient() as http:
            running_now = (await http.get(f"{url}/metrics")).text
        assert 'vllm:num_requests_running{engine="simulated",model_name="m"} 0.0' in running_now


@contextlib.asynccontextmanager
async def buffering(late: int) -> AsyncIterator[tuple[str, list[int]]]:
    """An engine behind something that holds the first `late` long answers back to their end."""
    asked: list[int] = []
    token = b'data: {"choices":[{"delta":{"content":"so "}}],"usage":{"prompt_tokens":9}}\n\n'

    async def handle(request: web.Request) -> web.StreamResponse:
        count = (await request.json())["max_tokens"]
        is_late = count > 8 and sum(n > 8 for n in asked) < late
        asked.append(count)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(1 if is_late else count):
            await response.write(token * (count if is_late else 1))
            await asyncio.sleep(0.001)
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


async def test_an_answer_that_comes_all_at_once_is_asked_for_again() -> None:
    """Somebody was late; its tokens say nothing of the engine's step."""
    async with buffering(late=1) as (url, asked):
        seen = await measure(url, "m", random=Random(1), batches=(1,), prompts=(32, 64))

    # The first again; 48 at batch 1 and at two lengths; 96 beside the prefills.
    assert asked.count(48) == 4 and asked.count(96) == 3
    assert seen.step_ms[1] >= 1


async def test_an_engine_whose_tokens_come_all_at_once_cannot_be_measured() -> None:
    """A proxy that buffers, say."""
    async with buffering(late=1_000) as (url, asked):
        with pytest.raises(aiohttp.ClientPayloadError, match="come at once"):
            await measure(url, "m", random=Random(1), batches=(1,), prompts=(32, 64))

    assert asked.count(48) == REPEATS

"""What is metered is what the engine does: wishes, growth and counts on real engines."""

from __future__ import annotations

import concurrent.futures
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.support import chat, eventually, new_key, status_of
from tests.e2e.tenants import Headers, of_tier

pytestmark = pytest.mark.busy

WINDOW = 1024

WISHES = (900, WINDOW, 32_000)
"""Over half the minute of the tier, the window, and everything."""

WISHING = ("chat/completions", "completions", "messages", "responses")


@pytest.fixture(scope="module")
def wishing(real: str, tenants_file: Path) -> dict[str, Headers]:
    """A tenant for each test of those who wish for too much."""
    names = [f"{path}-{wish}" for path in WISHING for wish in WISHES]
    return of_tier(tenants_file, real, "wishing", ["settled", *names])


def test_six_at_once_that_may_use_half_the_minute_each(
    real: str, http: httpx.Client, tenants_file: Path
) -> None:
    """Two pass; the others hear when to come back. What the route ignores caps nothing."""
    headers = new_key(tenants_file, "tight-real", "tight", real)
    body = {
        "model": "chat",
        "prompt": "Count:",
        "max_completion_tokens": 1,
        "max_tokens": 100,
        "ignore_eos": True,
    }

    def ask(_: int) -> httpx.Response:
        with httpx.Client(timeout=240) as own:
            return own.post(f"{real}/v1/completions", json=body, headers=headers)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))

    passed = [x for x in answers if x.status_code == 200]
    refused = [x for x in answers if x.status_code == 429]
    assert (len(passed), len(refused)) == (2, 4)
    assert [x.json()["usage"]["completion_tokens"] for x in passed] == [100, 100]
    assert {x.json()["error"]["code"] for x in refused} == {"token_rate"}


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("path", WISHING)
def test_a_client_that_always_wishes_for_more_than_there_is_lives(
    real: str, http: httpx.Client, wishing: dict[str, Headers], path: str, wish: int
) -> None:
    """Over every window and every ceiling: the answers are short."""
    headers = wishing[f"{path}-{wish}"]
    body: dict[str, Any] = {"model": "chat", "temperature": 0}
    if path == "completions":
        body |= {"prompt": "One two three four", "stop": [" "], "max_tokens": wish}
    elif path == "responses":
        body |= {"input": "Say hi.", "max_output_tokens": wish}
    else:
        body |= {"messages": [{"role": "user", "content": "Say hi."}], "max_tokens": wish}

    answers = [http.post(f"{real}/v1/{path}", json=body, headers=headers) for _ in range(3)]

    assert [x.status_code for x in answers] == [200] * 3, answers[-1].text


def test_a_prompt_near_the_windows_end_is_answered_in_what_is_left(
    real: str, http: httpx.Client
) -> None:
    """Whatever the estimate of it is; the wish is the only thing that is made smaller."""
    body = chat("word " * 850, model="chat", max_tokens=32_000, ignore_eos=True)

    answer = http.post(f"{real}/v1/chat/completions", json=body)

    assert answer.status_code == 200, answer.text
    usage = answer.json()["usage"]
    assert usage["prompt_tokens"] > 850
    assert 16 <= usage["completion_tokens"] <= WINDOW - usage["prompt_tokens"]
    assert answer.json()["choices"][0]["finish_reason"] == "length"


def test_what_is_settled_is_the_engines_count(
    real: str, http: httpx.Client, wishing: dict[str, Headers]
) -> None:
    """On /v1/messages, too, whose input tokens leave out what the cache had."""
    headers = wishing["settled"]
    text = "Name three colours and three animals, then explain at length why. " * 20
    messages = [{"role": "user", "content": text}]
    body = {"model": "chat", "messages": messages, "max_tokens": 8, "temperature": 0}
    spent = []
    begun = time.monotonic()
    for _ in range(2):
        before = http.post(f"{real}/v1/route", json=body, headers=headers)
        assert before.status_code == 200
        answer = http.post(f"{real}/v1/messages", json=body, headers=headers)
        assert answer.status_code == 200
        usage = answer.json()["usage"]
        spent.append(
            usage["input_tokens"]
            + usage.get("cache_read_input_tokens", 0)
            + usage.get("cache_creation_input_tokens", 0)
            + usage["output_tokens"]
        )
    assert spent[0] == spent[1] > 200

    # The head of an answer tells what is left once the one before it is settled.
    probe = {**body, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    left = http.post(f"{real}/v1/messages", json=probe, headers=headers)
    remaining = int(left.headers["x-ratelimit-remaining-tokens"])
    refilled = (time.monotonic() - begun) * 1_500 / 60
    assert remaining <= 1_500 - sum(spent) + refilled


def test_tokens_are_paced_however_text_comes(
    real: str, http: httpx.Client, tenants_file: Path
) -> None:
    """A long stop string makes the engine keep text back, and pass several tokens at once."""
    headers = new_key(tenants_file, "slow-stops", "slow", real)
    body = chat(
        "Tell me.",
        stream=True,
        max_tokens=40,
        ignore_eos=True,
        stop=["never to be seen in any answer whatsoever"],
        stream_options={"include_usage": True},
    )

    begun = time.monotonic()
    with http.stream("POST", f"{real}/v1/chat/completions", json=body, headers=headers) as stream:
        lines = [line for line in stream.iter_lines() if line]

    usage = json.loads(lines[-2].removeprefix("data: "))["usage"]
    assert usage["completion_tokens"] == 40
    # The fortieth token is due 3.9 s after the first.
    assert time.monotonic() - begun >= 3.9


def test_counting_and_dry_runs_are_requests(
    real: str, http: httpx.Client, tenants_file: Path
) -> None:
    """75 of them by a tenant with sixty a minute."""
    headers = new_key(tenants_file, "counted-real", "counted", real)
    body = chat("Say hi.")

    begun = time.monotonic()
    codes = [
        http.post(f"{real}{path}", json=body, headers=headers).status_code
        for _ in range(60)
        for path in ("/v1/messages/count_tokens", "/v1/route")
    ]
    took = time.monotonic() - begun

    assert set(codes) == {200, 429}
    # A bucket, and what came back meanwhile; a list of models was asked for before.
    assert codes.count(200) <= 60 + took + 1
    assert codes[:50] == [200] * 50


def test_sessions_are_active_while_they_generate(real: str, http: httpx.Client) -> None:
    """And recent afterwards."""
    body = chat("Tell me a story.", model="chat", stream=True, max_tokens=1_500, ignore_eos=True)

    def figures() -> tuple[int, int]:
        lane = status_of(http, real)["lanes"]["chat"]
        return lane["active_sessions"], lane["recent_sessions"]

    with httpx.Client(timeout=240) as own:
        headers = {"x-session-id": "an-active-one"}
        with own.stream("POST", f"{real}/v1/chat/completions", json=body, headers=headers) as on:
            # Kept: dropping it would close the connection.
            lines = on.iter_lines()
            first = next(lines)
            assert on.status_code == 200 and first.startswith("data: {"), first
            assert "error" not in first
            active, recent = eventually(lambda: figures() if figures()[0] else None)
            assert recent >= 1
    eventually(lambda: figures()[0] < active)
    assert figures()[1] >= 1

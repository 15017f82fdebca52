"""The simulated engine over HTTP, with the stock SDKs and by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
import uvicorn

from serve_app.engine.engine_stats import engine_load
from simulator.http.app import SimulatedEngineApp
from simulator.http.faults import Faults
from simulator.http.spec import EngineSpec
from simulator.model.profile import FixedTiming, Profile

MODEL = "m"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "lookup",
            "parameters": {
                "type": "object",
                "properties": {"q": {"type": "string"}, "k": {"type": "integer", "minimum": 2}},
                "required": ["q", "k"],
            },
        },
    }
]
CARD = Profile.model_validate(
    {
        "name": "small",
        "source": "for tests",
        "timing": {"decode_step_ms": {1: 1.0}, "prefill_ms_per_token": 0.01},
        "scheduling": {"max_num_seqs": 2, "num_gpu_blocks": 400},
        "mean_output_tokens": 12,
    }
)


class Running:
    """An application on a port, its event loop in a thread."""

    def __init__(self, app: SimulatedEngineApp) -> None:
        config = uvicorn.Config(
            app, port=0, log_level="critical", lifespan="off", timeout_keep_alive=1
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(5)


def running(timing: Profile | FixedTiming, **options: Any) -> Iterator[str]:
    made = Running(SimulatedEngineApp(EngineSpec(MODEL, 2000, timing, seed=3, **options)))
    yield made.url
    made.stop()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A quick engine without contention."""
    yield from running(FixedTiming(ttft_s=0.001, itl_s=0.001))


@pytest.fixture(scope="module")
def card() -> Iterator[str]:
    """An engine with a scheduler, a small KV cache and answers that end."""
    yield from running(CARD)


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as made:
        yield made


@pytest.fixture
def claude(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="x", max_retries=0) as made:
        yield made


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def chat(url: str, text: str = "hi", **fields: Any) -> httpx.Response:
    body = {"model": MODEL, "messages": user(text), "max_tokens": 8, "temperature": 0, **fields}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)


def content(response: httpx.Response) -> str:
    return str(response.json()["choices"][0]["message"]["content"])


def test_streamed_and_whole_answers_are_the_same(client: openai.OpenAI) -> None:
    ask: dict[str, Any] = {"model": MODEL, "messages": user("hello"), "temperature": 0}
    whole = client.chat.completions.create(max_tokens=9, **ask)
    events = list(
        client.chat.completions.create(
            max_tokens=9, stream=True, stream_options={"include_usage": True}, **ask
        )
    )
    text = "".join(e.choices[0].delta.content or "" for e in events if e.choices)
    assert text == whole.choices[0].message.content
    assert text.startswith("simulated ") and len(text.split()) == 9
    assert events[-1].usage == whole.usage
    assert whole.usage is not None and whole.usage.completion_tokens == 9
    assert whole.choices[0].finish_reason == "length"
    assert whole.system_fingerprint == "simulated" and "simulated" in whole.id


def test_every_answer_says_simulated(url: str) -> None:
    assert chat(url).headers["x-simulated"] == "1"
    assert chat(url, stream=True).headers["x-simulated"] == "1"
    assert "simulated" in httpx.get(f"{url}/metrics").text
    assert httpx.get(f"{url}/v1/models").json()["data"][0]["owned_by"] == "simulated"
    assert httpx.get(f"{url}/version").json() == {"version": "simulated"}


@pytest.mark.parametrize("said_tokens", [0, 1, 5, 19])
def test_a_cut_answer_goes_on_from_its_text_and_from_its_token_ids(
    url: str, said_tokens: int
) -> None:
    whole = chat(url, max_tokens=20, return_token_ids=True).json()
    choice = whole["choices"][0]
    words = choice["message"]["content"].split(" ")
    said = " ".join(words[:said_tokens])
    messages = [*user("hi"), {"role": "assistant", "content": said}]
    rest = chat(
        url, messages=messages, max_tokens=20 - said_tokens,
        continue_final_message=True, add_generation_prompt=False,
    )  # fmt: skip
    assert said + content(rest) == choice["message"]["content"]

    ids = [*whole["prompt_token_ids"], *choice["token_ids"][:said_tokens]]
    body = {"model": MODEL, "prompt": ids, "max_tokens": 20 - said_tokens, "temperature": 0,
            "return_token_ids": True}  # fmt: skip
    resumed = httpx.post(f"{url}/v1/completions", json=body).json()["choices"][0]
    assert said + resumed["text"] == choice["message"]["content"]
    assert resumed["token_ids"] == choice["token_ids"][said_tokens:]
    assert resumed["prompt_token_ids"] == ids


def test_a_trimming_template_loses_the_space_that_was_said() -> None:
    for trims, same in ((False, True), (True, False)):
        for url in running(FixedTiming(ttft_s=0, itl_s=0), trims_template=trims):
            whole = content(chat(url, max_tokens=6))
            messages = [*user("hi"), {"role": "assistant", "content": "simulated ka "}]
            options = {"continue_final_message": True, "add_generation_prompt": False}
            asked = chat(url, messages=messages, **options).json()["usage"]["prompt_tokens"]
            trimmed = chat(
                url, messages=[*user("hi"), {"role": "assistant", "content": "simulated ka"}],
                **options,
            ).json()["usage"]["prompt_tokens"]  # fmt: skip
            assert (asked == trimmed) is not same
            assert whole.startswith("simulated")


def test_sampled_answers_differ_and_seeded_ones_repeat(url: str) -> None:
    sampled = {content(chat(url, temperature=1.0)) for _ in range(4)}
    seeded = {content(chat(url, temperature=1.0, seed=7)) for _ in range(3)}
    assert len(sampled) > 1 and len(seeded) == 1
    assert content(chat(url)) == content(chat(url))


def test_several_choices_and_prompts(url: str) -> None:
    answers = chat(url, n=3, temperature=1).json()
    assert [c["index"] for c in answers["choices"]] == [0, 1, 2]
    assert len({c["message"]["content"] for c in answers["choices"]}) == 3
    assert answers["usage"]["completion_tokens"] == 24
    body = {"model": MODEL, "prompt": ["a", "b"], "max_tokens": 3, "stream": True}
    text = httpx.post(f"{url}/v1/completions", json=body).text
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    assert {c["choices"][0]["index"] for c in chunks} == {0, 1}
    assert text.endswith("data: [DONE]\n\n")


def test_tools_are_called_when_they_must_be(client: openai.OpenAI) -> None:
    for choice in ("required", {"type": "function", "function": {"name": "lookup"}}):
        ask: dict[str, Any] = {"model": MODEL, "messages": user("x"), "max_tokens": 50,
                               "tools": TOOLS, "tool_choice": choice}  # fmt: skip
        whole = client.chat.completions.create(**ask).choices[0]
        assert whole.finish_reason == "tool_calls" and whole.message.content is None
        assert whole.message.tool_calls is not None
        function = whole.message.tool_calls[0].function  # type: ignore[union-attr]
        assert (function.name, json.loads(function.arguments)) == (
            "lookup", {"q": "simulated", "k": 2})  # fmt: skip
        with client.chat.completions.stream(**ask) as stream:
            stream.until_done()
            streamed = stream.get_final_completion().choices[0].message.tool_calls
        assert streamed is not None
        assert streamed[0].function.arguments == function.arguments
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "x"}], tools=TOOLS,  # type: ignore[arg-type]
            tool_choice={"type": "function", "function": {"name": "other"}},
        )  # fmt: skip


def test_structured_output_follows_the_schema(url: str) -> None:
    schema = {
        "$defs": {"tag": {"enum": ["a", "b"]}},
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 12},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2},
            "size": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "left_out": {"type": "boolean"},
        },
        "required": ["name", "tags", "size"],
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    said = json.loads(content(chat(url, response_format=form, max_tokens=100)))
    assert said == {"name": "simulated...", "tags": ["a", "a"], "size": 0}
    said = json.loads(content(chat(url, structured_outputs={"json": schema}, max_tokens=100)))
    assert said["tags"] == ["a", "a"]
    assert content(chat(url, structured_outputs={"choice": ["yes", "no"]})) == "yes"
    assert json.loads(content(chat(url, response_format={"type": "json_object"}))) == {
        "simulated": True
    }


def test_stop_strings_end_the_answer(url: str) -> None:
    whole = content(chat(url, max_tokens=20))
    stop = whole[17:20]
    choice = chat(url, max_tokens=20, stop=[stop, "zzz"]).json()["choices"][0]
    assert choice["message"]["content"] == whole[: whole.index(stop)]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)


def test_the_responses_route(client: openai.OpenAI) -> None:
    whole = client.responses.create(model=MODEL, input="hi", max_output_tokens=6, temperature=0)
    assert whole.output_text.startswith("simulated ")
    assert whole.status == "incomplete"
    with client.responses.stream(
        model=MODEL, input="hi", max_output_tokens=6, temperature=0, instructions="Be brief."
    ) as stream:
        numbers = [event.sequence_number for event in stream]
        final = stream.get_final_response()
    assert numbers == list(range(len(numbers)))
    assert len(final.output_text.split()) == 6
    tools = [{"type": "function", **TOOLS[0]["function"], "strict": False}]  # type: ignore[dict-item]
    with client.responses.stream(
        model=MODEL,
        input="x",
        tools=tools,
        tool_choice="required",  # type: ignore[arg-type]
    ) as stream:
        stream.until_done()
        (item,) = stream.get_final_response().output
    assert item.type == "function_call" and json.loads(item.arguments)["k"] == 2


def test_the_messages_route(claude: anthropic.Anthropic) -> None:
    ask: dict[str, Any] = {"model": MODEL, "max_tokens": 5, "messages": user("hi")}
    greedy = {"extra_body": {"temperature": 0}}
    whole = claude.messages.create(**ask, **greedy)
    with claude.messages.stream(**ask, **greedy) as stream:
        streamed = stream.get_final_message()
    assert streamed.content[0].text == whole.content[0].text  # type: ignore[union-attr]
    assert whole.stop_reason == "max_tokens"
    assert whole.usage.output_tokens == streamed.usage.output_tokens == 5
    counted = claude.messages.count_tokens(model=MODEL, messages=ask["messages"])
    assert counted.input_tokens == whole.usage.input_tokens
    tool = {"name": "lookup", "input_schema": TOOLS[0]["function"]["parameters"]}  # type: ignore[index]
    with claude.messages.stream(
        **(ask | {"max_tokens": 50}), tools=[tool], tool_choice={"type": "any"}
    ) as stream:
        called = stream.get_final_message()
    assert called.stop_reason == "tool_use"
    assert called.content[0].input == {"q": "simulated", "k": 2}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"messages": []}, 400),
        ({"messages": "x"}, 400),
        ({"max_tokens": 0}, 400),
        ({"max_completion_tokens": 0}, 400),
        ({"model": "other"}, 404),
        ({"max_tokens": 5000}, 400),
        ({"messages": user("word " * 3000)}, 400),
        ({"continue_final_message": True}, 400),
        ({"continue_final_message": True, "add_generation_prompt": False}, 400),
    ],
)
def test_what_vllm_refuses_is_refused(url: str, fields: dict[str, Any], status: int) -> None:
    answer = chat(url, **fields)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == status


def test_bodies_that_are_no_requests(url: str) -> None:
    for body in (b"", b"{", b"[1]"):
        assert httpx.post(f"{url}/v1/completions", content=body).status_code == 400
    assert httpx.post(f"{url}/v1/embeddings", json={}).status_code == 404
    assert httpx.get(f"{url}/nowhere").status_code == 404


def test_detokenize_tells_the_text_of_an_answer_s_tokens(url: str) -> None:
    """Of its own words only: the tokenizer is a hash."""
    body = {"messages": user("hello"), "max_tokens": 4, "temperature": 0, "return_token_ids": True}
    choice = httpx.post(f"{url}/v1/chat/completions", json=body).json()["choices"][0]

    told = httpx.post(f"{url}/detokenize", json={"tokens": choice["token_ids"]})
    unknown = httpx.post(f"{url}/detokenize", json={"tokens": [99_999_999]})

    assert told.json() == {"prompt": choice["message"]["content"]}
    assert unknown.status_code == 400


def test_tokenize_counts_as_the_engine_does(url: str) -> None:
    asked = httpx.post(f"{url}/tokenize", json={"messages": user("hello there")}).json()
    used = chat(url, "hello there").json()["usage"]["prompt_tokens"]
    assert asked["count"] == len(asked["tokens"]) == used


def test_answers_end_by_themselves_and_may_be_made_longer(card: str) -> None:
    lengths = [
        chat(card, f"question {k}", max_tokens=500).json()["usage"]["completion_tokens"]
        for k in range(30)
    ]
    assert 6 < sum(lengths) / 30 < 24
    longest = chat(card, "x", max_tokens=60, ignore_eos=True).json()
    assert longest["usage"]["completion_tokens"] == 60
    assert chat(card, "x", max_tokens=99, min_tokens=50).json()["usage"]["completion_tokens"] >= 50


def test_a_tenants_salt_keeps_its_prefix_to_itself(card: str) -> None:
    prompt = "the same long system prompt " * 30
    seen = {}
    for salt in ("a", "b", "a"):
        answer = chat(card, prompt, cache_salt=salt).json()
        details = answer["usage"]["prompt_tokens_details"]
        seen.setdefault(salt, []).append(details["cached_tokens"])
    assert seen["b"] == [0]
    assert seen["a"][0] == 0 < seen["a"][1]
    metrics = httpx.get(f"{card}/metrics").text
    hits = next(x for x in metrics.splitlines() if x.startswith("vllm:prefix_cache_hits_total{"))
    assert float(hits.split()[-1]) >= seen["a"][1]


@pytest.fixture
def slow_card() -> Iterator[str]:
    """The same, at a fifth of its pace: its batch stays full for seconds."""
    timing = CARD.timing.model_copy(update={"decode_step_ms": {1: 5.0}})
    yield from running(CARD.model_copy(update={"timing": timing}))


def test_lower_priority_numbers_go_first(slow_card: str) -> None:
    """One slot comes free, and those that wait take it in turn."""
    done: list[int] = []

    def ask(priority: int) -> None:
        chat(slow_card, f"p{priority}", max_tokens=50, ignore_eos=True, priority=priority)
        done.append(priority)

    def load(name: str) -> float:
        return float(engine_load(httpx.get(f"{slow_card}/metrics").text)[name])

    with filling(slow_card), contextlib.ExitStack() as first:
        first.enter_context(filling(slow_card))
        # They queue the least important first.
        threads = [threading.Thread(target=ask, args=[priority]) for priority in (9, 5, 1)]
        for number, thread in enumerate(threads, 1):
            thread.start()
            deadline = time.monotonic() + 60
            while load("running") + load("waiting") < 2 + number:
                assert time.monotonic() < deadline
                time.sleep(0.005)
        assert load("waiting") == 3, "the batch was free again before everyone had come"
        first.close()
        for thread in threads:
            thread.join()
    assert done == [1, 5, 9]


@contextlib.contextmanager
def filling(card: str) -> Iterator[None]:
    """While a stream has one of the engine's slots."""
    body = {"model": MODEL, "messages": user("x"), "max_tokens": 1500, "ignore_eos": True,
            "stream": True}  # fmt: skip
    with httpx.stream("POST", f"{card}/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()  # closes the response when nobody has it
        next(lines)
        yield


def test_a_client_that_leaves_frees_the_engine(card: str) -> None:
    with filling(card):
        assert engine_load(httpx.get(f"{card}/metrics").text)["running"] == 1
    deadline = time.monotonic() + 20
    while engine_load(httpx.get(f"{card}/metrics").text)["running"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert 'finished_reason="abort"' in httpx.get(f"{card}/metrics").text


def test_metrics_bear_vllms_names_and_types(card: str) -> None:
    chat(card)
    text = httpx.get(f"{card}/metrics").text
    for line in (
        "# TYPE vllm:num_requests_running gauge",
        "# TYPE vllm:num_requests_waiting gauge",
        "# TYPE vllm:kv_cache_usage_perc gauge",
        "# TYPE vllm:num_preemptions_total counter",
        "# TYPE vllm:prefix_cache_queries_total counter",
        "# TYPE vllm:prefix_cache_hits_total counter",
        "# TYPE vllm:prompt_tokens_total counter",
        "# TYPE vllm:generation_tokens_total counter",
        "# TYPE vllm:request_success_total counter",
        "# TYPE vllm:time_to_first_token_seconds histogram",
        "# TYPE vllm:inter_token_latency_seconds histogram",
        "# TYPE vllm:request_time_per_output_token_seconds histogram",
        "# TYPE vllm:request_queue_time_seconds histogram",
        "# TYPE vllm:e2e_request_latency_seconds histogram",
    ):
        assert line in text, line
    assert {"running", "waiting", "kv_utilization", "preemptions"} <= engine_load(text).keys()


def test_faults_by_control_word(url: str) -> None:
    assert chat(url, "[fail]").status_code == 500
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{url}/v1/chat/completions",
            json={"model": MODEL, "messages": user("[hang]")},
            timeout=0.3,
        )
    body = {"model": MODEL, "messages": user("[break]"), "max_tokens": 20, "stream": True}
    received = b""
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
        parts = response.iter_raw()
        with contextlib.suppress(httpx.RemoteProtocolError):
            for part in parts:
                received += part
            pytest.fail("the stream ended as if it were whole")
    events = [json.loads(line[6:]) for line in received.decode().splitlines() if line]
    said = "".join(event["choices"][0]["delta"]["content"] for event in events)
    assert len(said.split()) == 3


def test_faults_at_run_time(url: str) -> None:
    try:
        assert httpx.post(f"{url}/simulated/faults", json={"fail": 1}).json()["fail"] == 1
        assert chat(url).status_code == 500
        assert httpx.get(f"{url}/simulated/faults").json()["fail"] == 1
        assert httpx.post(f"{url}/simulated/faults", json={"slowdown": 100}).status_code == 200
        begun = time.perf_counter()
        chat(url, max_tokens=2)
        assert time.perf_counter() - begun > 0.1
        assert httpx.post(f"{url}/simulated/faults", json={"unknown": 1}).status_code == 400
    finally:
        httpx.post(f"{url}/simulated/faults", json={})
    assert chat(url).status_code == 200


async def test_shares_of_faults_and_death() -> None:
    deaths: list[bool] = []
    spec = EngineSpec(MODEL, 2000, FixedTiming(ttft_s=0, itl_s=0), seed=1,
                      faults=Faults(fail=0.5))  # fmt: skip
    app = SimulatedEngineApp(spec, on_death=lambda: deaths.append(True))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://engine"
    ) as http:

        async def ask(text: str) -> int:
            body = {"model": MODEL, "messages": user(text)}
            return (await http.post("/v1/chat/completions", json=body)).status_code

        codes = await asyncio.gather(*(ask(f"{k}") for k in range(60)))
        assert 15 < codes.count(500) < 45
        await ask("[die]")
        await http.post("/simulated/faults", json={"die": True})
    assert deaths == [True, True]

"""Embeddings, scores and rankings: from a client's body to the settled request."""

import base64
import struct
import time

import openai
import pytest

from tests.unit.serve_app.conftest import with_ceilings
from tests.unit.serve_app.pipeline.pooling_world import (
    EMBED,
    LANES,
    RANK,
    WINDOW,
    with_pooling,
)
from tests.unit.serve_app.simulated_lanes import Break
from tests.wrong_bodies import CHAT, EMBEDDINGS, RERANK, RERANK_2, SCORE

RANKING = {"query": "red apples", "documents": ["blue boats", "apples that are red", "red"]}


@pytest.fixture
def lanes(world):
    return with_pooling(world)


def error(response):
    return response.json()["error"]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


async def test_a_stock_client_embeds(world, lanes):
    """The OpenAI SDK asks for base64 by itself, and decodes it."""
    async with (
        world.client(key="acme") as http,
        openai.AsyncOpenAI(
            api_key=world.keys["acme"], base_url="http://localhost/v1", http_client=http
        ) as client,
    ):
        made = await client.embeddings.create(
            model="text-embedding-3-small", input=["red apples", "apples red", "boats"]
        )

    first, second, third = (row.embedding for row in made.data)
    assert dot(first, first) == pytest.approx(1, abs=1e-5)
    assert dot(first, second) > dot(first, third)
    assert lanes.opened[-1][2]["encoding_format"] == "base64"
    assert made.usage.prompt_tokens == made.usage.total_tokens > 0


async def test_floats_and_base64_are_the_same_vectors(world, lanes):
    both = [
        await world.post(EMBEDDINGS, {"input": "Hi there", "encoding_format": x}, key="acme")
        for x in ("float", "base64")
    ]

    floats, packed = (x.json()["data"][0]["embedding"] for x in both)
    raw = base64.b64decode(packed)
    assert struct.unpack(f"<{len(raw) // 4}f", raw) == pytest.approx(floats, abs=1e-6)


@pytest.mark.parametrize(
    ("path", "body", "lane"),
    [
        (EMBEDDINGS, {"input": "Hi"}, "embed"),
        (EMBEDDINGS, {"input": "Hi", "model": "auto"}, "embed"),
        (EMBEDDINGS, {"input": "Hi", "model": "gpt-4o"}, "embed"),
        (RERANK, RANKING, "rank"),
        (RERANK_2, RANKING, "rank"),
        (SCORE, {"queries": "a", "documents": ["b", "c"]}, "rank"),
    ],
)
async def test_what_names_no_model_goes_to_the_lane_for_it(world, lanes, path, body, lane):
    answer = await world.post(path, body, key="acme")

    assert answer.status_code == 200, answer.text
    assert answer.headers["x-pointsman-lane"] == lane
    assert answer.headers["x-pointsman-reason"] == "default"


@pytest.mark.parametrize("model", ["embed", EMBED, "text-embedding-3-large"])
async def test_a_name_pins_the_lane(world, lanes, model):
    """An embedding model compares texts, too, by their vectors."""
    for path, body in ((EMBEDDINGS, {"input": "Hi"}), (RERANK, RANKING)):
        answer = await world.post(path, {**body, "model": model}, key="acme")

        assert answer.headers["x-pointsman-lane"] == "embed"
        assert answer.headers["x-pointsman-reason"] == "pinned"


async def test_documents_come_ranked(world, lanes):
    """With their places in the request; no more than are asked for."""
    ranked = (await world.post(RERANK, {**RANKING, "top_n": 2}, key="acme")).json()["results"]

    assert [row["index"] for row in ranked] == [1, 2]
    assert ranked[0]["relevance_score"] > ranked[1]["relevance_score"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "words"),
    [
        (EMBEDDINGS, {"input": "Hi", "model": "quality"}, 400, "invalid_request", "embed"),
        (EMBEDDINGS, {"input": "Hi", "model": "rank"}, 400, "invalid_request", "embed"),
        (RERANK, {**RANKING, "model": "chat"}, 400, "invalid_request", "embed, rank"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": "Hi"}], "model": "embed"},
            400,
            "invalid_request",
            "chat, quality, eyes",
        ),
        (EMBEDDINGS, {"input": "Hi", "model": "text-ada"}, 404, "model_not_found", "/v1/models"),
    ],
)
async def test_a_lane_is_not_asked_for_what_it_cannot_do(
    world, lanes, path, body, status, code, words
):
    """The refusal says which lanes can."""
    refused = await world.post(path, body, key="acme")

    assert refused.status_code == status
    assert error(refused)["code"] == code and error(refused)["param"] == "model"
    assert words in error(refused)["message"]
    assert lanes.opened == []


async def test_a_tenant_without_such_a_lane_is_told_so(world, lanes):
    """Neither by default nor by name; and nothing is said of lanes that are not open to it."""
    for model, status in (("auto", 403), ("embed", 403)):
        refused = await world.post(EMBEDDINGS, {"input": "Hi", "model": model}, key="guest")

        assert (refused.status_code, error(refused)["param"]) == (status, "model")


async def test_lanes_that_are_not_open_are_not_named(world, lanes):
    refused = await world.post(EMBEDDINGS, {"input": "Hi", "model": "chat"}, key="guest")

    assert refused.status_code == 400
    assert error(refused)["message"].endswith("none that is open to this API key does.")


async def test_a_fleet_without_such_a_lane_says_so(world, engine):
    refused = await world.post(EMBEDDINGS, {"input": "Hi"}, key="acme")

    assert (refused.status_code, error(refused)["code"]) == (404, "model_not_found")
    assert error(refused)["message"] == "No lane here can make embeddings."


async def test_auto_of_a_chat_is_a_lane_that_writes(world):
    """Whichever stands first, or is open."""
    served = with_pooling(world, {"embed": LANES["embed"], **LANES})
    hello = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    answer = await world.post(CHAT, hello, key="acme")

    assert answer.headers["x-pointsman-lane"] == "chat"
    assert served.opened[-1][2]["model"] == "small"


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"input": ""}, "input", "none of them empty"),
        ({"input": []}, "input", "none of them empty"),
        ({"input": ["Hi", ""]}, "input", "none of them empty"),
        ({}, "input", "a string or an array"),
        ({"input": "Hi", "stream": True}, "stream", "false"),
        ({"input": ["Hi"] * 10_000}, "input", "at most 2048"),
        ({"input": "Hi", "encoding_format": "bytes"}, "encoding_format", "'float' or 'base64'"),
        ({"input": "Hi", "dimensions": 0}, "dimensions", "at least 1"),
        # Each text would be filled up to the window, whatever was reserved for it.
        ({"input": "Hi", "padding": "max_length"}, "padding", "'do_not_pad'"),
    ],
)
async def test_a_body_that_is_slightly_wrong_says_what_is(world, lanes, body, param, words):
    refused = await world.post(EMBEDDINGS, body, key="acme")

    assert refused.status_code == 400
    assert error(refused)["code"] == "invalid_request" and error(refused)["param"] == param
    assert words in error(refused)["message"]
    assert lanes.opened == []


async def test_dimensions_that_a_model_cannot_make_are_the_engine_s_to_refuse(world, lanes):
    refused = await world.post(EMBEDDINGS, {"input": "Hi", "dimensions": 8}, key="acme")

    assert refused.status_code == 400
    assert error(refused)["param"] == "dimensions"
    assert "vectors of one size" in error(refused)["message"]


async def test_a_text_that_is_too_long_says_so_unless_it_may_be_cut(world, lanes):
    """Refused here where it is sure not to fit, else by the engine: the same code."""
    for words in (WINDOW + 40, 40 * WINDOW):
        body = {"input": ["short", "apple " * words]}
        refused = await world.post(EMBEDDINGS, body, key="acme")
        cut = await world.post(EMBEDDINGS, {**body, "truncate_prompt_tokens": WINDOW}, key="acme")

        assert refused.status_code == 400
        assert error(refused)["code"] == "context_length_exceeded"
        assert cut.status_code == 200


async def test_tokens_are_counted_against_the_tenant_s_minute(world, lanes):
    """What is reserved is the texts' estimate, what is charged the engine's count."""
    with_ceilings(world, tokens_per_minute=100)
    first = await world.post(EMBEDDINGS, {"input": ["red apples"] * 8}, key="acme")
    used = first.json()["usage"]["prompt_tokens"]
    second = await world.post(EMBEDDINGS, {"input": ["red apples"] * 100}, key="acme")

    ceiling = world.state.ceiling(world.state.policies.auth.tenant("acme"))
    reserved = 100 - int(first.headers["x-ratelimit-remaining-tokens"])
    assert reserved > used
    assert 100 - used <= ceiling.tokens_state(now=time.monotonic()).remaining < 100
    assert (second.status_code, error(second)["code"]) == (429, "token_rate")


async def test_both_texts_of_a_pair_may_be_as_long_as_they_are_cut_to(world, lanes):
    """A model that embeds reads them apart, each up to the bound."""
    with_ceilings(world, tokens_per_minute=50_000)
    long = ["apples " * 2 * WINDOW] * 4
    pairs = {"queries": long, "documents": long, "truncate_prompt_tokens": WINDOW}
    answer = await world.post(SCORE, {**pairs, "model": "embed"}, key="acme")

    reserved = 50_000 - int(answer.headers["x-ratelimit-remaining-tokens"])
    assert reserved == pytest.approx(8 * WINDOW, rel=0.1)


@pytest.mark.parametrize("name", ["instruction", "chat_template_kwargs"])
async def test_what_a_reranker_reads_with_every_pair_is_counted_with_every_pair(world, lanes, name):
    """It stands once in the body: of 500 pairs, 500 times as much is read."""
    with_ceilings(world, tokens_per_minute=20_000)
    ranking = {"query": "a", "documents": ["b"] * 500}
    words = "apples " * 50
    often = {name: words if name == "instruction" else {"instruction": words}}

    assert (await world.post(RERANK, ranking, key="acme")).status_code == 200
    refused = await world.post(RERANK, {**ranking, **often}, key="acme")
    assert error(refused)["code"] == "token_rate"


async def test_it_is_accounted_for_like_the_rest(world, lanes):
    """Metrics by lane, the usage ledger, and the request log."""
    answer = await world.post(EMBEDDINGS, {"input": ["red apples", "boats"]}, key="acme")
    tokens = answer.json()["usage"]["prompt_tokens"]

    labels = {"lane": "embed", "reason": "default", "tier": "paid", "code": "200"}
    assert world.count("pointsman_requests_total", **labels) == 1
    assert world.count("pointsman_tokens_total", tenant="acme", kind="prompt") == tokens
    assert world.count("pointsman_tokens_total", tenant="acme", kind="completion") == 0
    world.meter.flush()
    kept = world.tenancy.usage("0000-01-01", "9999-12-31")
    (counts,) = [counts for slot, counts in kept.items() if slot[1:] == ("acme", "embed")]
    assert (counts.requests, counts.prompt, counts.completion) == (1, tokens, 0)


async def test_another_replica_is_asked_when_one_is_lost(world, lanes):
    """Nothing was said yet, whenever that is: the same is asked again."""
    lanes.cuts = [Break()]
    answer = await world.post(EMBEDDINGS, {"input": "Hi"}, key="acme")

    assert answer.status_code == 200
    assert [name for name, _, _ in lanes.opened] == ["r1", "r2"]


async def test_what_is_ours_to_say_is_said_by_us(world, lanes):
    """Model, cache salt and priority, as of any request; other fields are the client's."""
    theirs = {"cache_salt": "theirs", "priority": -9, "user": "u", "truncate_prompt_tokens": 9}
    for path, body in ((EMBEDDINGS, {"input": "Hi"}), (RERANK, RANKING)):
        await world.post(path, {**body, **theirs}, key="acme")
        sent = lanes.opened[-1][2]

        assert sent["model"] in (EMBED, RANK)
        assert sent["cache_salt"] != "theirs" and "priority" not in sent
        assert sent["user"] == "u" and sent["truncate_prompt_tokens"] == 9


async def test_models_are_listed(world, lanes):
    async with world.client(key="acme") as client:
        listed = {row["id"] for row in (await client.get("/v1/models")).json()["data"]}

    assert {"embed", EMBED, "rank", RANK} <= listed


async def test_estimates_learn_from_what_was_read_whole(world, lanes):
    """Neither from texts that were cut off, nor from pairs, which some models read apart."""
    long = ["apples " * 60] * 8
    before = world.state.estimator("embed").bytes_per_token
    await world.post(EMBEDDINGS, {"input": long, "truncate_prompt_tokens": 2}, key="acme")
    ranking = {"query": "apples", "documents": long, "model": "embed"}
    await world.post(RERANK, ranking, key="acme")
    assert world.state.estimator("embed").bytes_per_token == before

    await world.post(EMBEDDINGS, {"input": long}, key="acme")
    assert world.state.estimator("embed").bytes_per_token != before

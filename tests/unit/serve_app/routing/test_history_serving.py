"""A long conversation through the gateway, on a simulated engine that counts its cache."""

import re

import httpx
import pytest

from serve_app.config.tenants import TenantsConfig
from serve_app.routing.policies import build_policies
from simulator.http.app import SimulatedEngineApp
from simulator.http.spec import EngineSpec
from simulator.model.profile import Profile

CHAT = "/v1/chat/completions"
LONG = "word " * 60
CARD = Profile.model_validate(
    {
        "name": "small",
        "source": "for tests",
        "timing": {"decode_step_ms": {1: 0.01}, "prefill_ms_per_token": 0.0001},
        "scheduling": {"max_num_seqs": 4, "num_gpu_blocks": 4000},
    }
)


class SimulatedLane:
    """Answers every request of a world by one simulated engine, in this process."""

    def __init__(self, world, whole) -> None:
        app = SimulatedEngineApp(EngineSpec("small", 4096, CARD, seed=3))
        transport = httpx.ASGITransport(app)
        self._engine = httpx.AsyncClient(transport=transport, base_url="http://engine")
        self._whole = whole
        world.lanes.open = self.open

    async def open(self, replica, path, body, headers):
        answer = await self._engine.post(path, content=body)
        return self._whole(answer.json(), answer.status_code)

    async def hit_ratio(self) -> float:
        """Cached prompt tokens over prompt tokens, as the engine counts them."""
        text = (await self._engine.get("/metrics")).text
        hits, queries = (_value(text, f"vllm:prefix_cache_{x}_total") for x in ("hits", "queries"))
        return hits / queries


def _value(text, name) -> float:
    return float(re.search(rf"^{name}{{.*}} (\S+)$", text, re.MULTILINE)[1])


@pytest.fixture
def simulated(world, engine):
    """Puts a fresh simulated engine behind the gateway."""
    return lambda: SimulatedLane(world, engine)


@pytest.fixture
def capped(world):
    """Gives the local tenant's tier a history budget, or none."""

    def cap(history):
        data = world.tenants.model_dump(mode="json")
        data["tiers"]["local"]["history"] = history
        for tenant in data["tenants"].values():
            # A field that is written down is the tenant's own word.
            del tenant["history"]
        tenants = TenantsConfig.model_validate(data)
        now = world.state.policies
        world.state.apply(build_policies(now.fleet, tenants, now.scorer, now.shipped))

    return cap


async def talk(world, turns) -> list[httpx.Response]:
    """A client that sends the whole conversation again each turn."""
    messages = [{"role": "system", "content": "Be brief. " * 20}]
    responses = []
    for turn in range(turns):
        messages.append({"role": "user", "content": f"Turn {turn}: {LONG}"})
        body = {"messages": messages, "max_tokens": 20, "temperature": 0}
        response = await world.post(CHAT, body)
        assert response.status_code == 200, response.text
        messages.append(response.json()["choices"][0]["message"])
        responses.append(response)
    return responses


async def test_two_marks_keep_the_prefix_cache_useful(world, capped, simulated):
    """The engine's own counters: a cut that moves every turn finds the system prompt only."""
    ratios = []
    for low in (500, 1199):
        lane = simulated()
        capped({"high_tokens": 1200, "low_tokens": low})
        await talk(world, 30)
        ratios.append(await lane.hit_ratio())

    two_marks, every_turn = ratios
    assert two_marks > 0.65
    assert every_turn < 0.4


async def test_the_engine_never_reads_more_history_than_the_high_mark(world, capped, simulated):
    """Thirty turns in the room of ten; the same conversation uncapped grows on."""
    simulated()
    capped({"high_tokens": 1200, "low_tokens": 500})

    responses = await talk(world, 30)

    used = [response.json()["usage"]["prompt_tokens"] for response in responses]
    system = 60
    assert max(used) < 1200 + system
    assert used[-1] < max(used)


async def test_the_response_says_that_history_was_trimmed(world, capped, simulated):
    """From the turn that crosses the mark on, and on no earlier one."""
    simulated()
    capped({"high_tokens": 700, "low_tokens": 300})

    responses = await talk(world, 10)

    headers = [response.headers.get("x-pointsman-history") for response in responses]
    first = next(i for i, header in enumerate(headers) if header)
    assert 0 < first < 9
    assert re.fullmatch(r"trimmed; dropped=\d+; tokens=\d+", headers[first])
    assert all(headers[first:])
    # Half a dozen turns are left out by two or three moves, not one each turn.
    assert 1 <= len(set(headers[first:])) <= 4
    moves = world.count("pointsman_history_cuts_total", tier="local")
    assert moves == len(set(headers[first:]))
    assert world.count("pointsman_history_dropped_tokens_total", tier="local") > 0


async def test_the_session_stays_the_same_when_its_first_turn_is_dropped(world, capped, simulated):
    """The id comes from what the client sent, not from what is left of it."""
    simulated()
    capped({"high_tokens": 300, "low_tokens": 200})

    responses = await talk(world, 6)

    assert len({response.headers["x-session-id"] for response in responses}) == 1
    assert "x-pointsman-history" in responses[-1].headers


async def test_a_conversation_longer_than_the_window_goes_on_under_a_budget(world, capped, engine):
    """The window is checked against what the engine will read."""
    turns = [{"role": role, "content": "x" * 5_000} for role in ("user", "assistant")] * 5
    body = {"messages": [*turns, {"role": "user", "content": "And now?"}]}
    world.lanes.answers = [engine()]

    refused = await world.post(CHAT, body)
    capped({"high_tokens": 2_000})
    answered = await world.post(CHAT, body)

    assert refused.json()["error"]["code"] == "context_length_exceeded"
    assert answered.status_code == 200
    assert world.lanes.opened[0].body["messages"] == body["messages"][-1:]


async def test_a_dropped_turn_has_no_say_in_the_lane(world, capped, engine):
    """A hard question that is left out no longer keeps the conversation on the stronger lane."""
    turns = [
        {"role": "user", "content": "A hard question " + "x" * 400},
        {"role": "assistant", "content": "x" * 400},
        {"role": "user", "content": "Thanks"},
    ]
    world.lanes.answers = [engine(), engine()]

    sticky = await world.post(CHAT, {"messages": turns})
    capped({"high_tokens": 150})
    trimmed = await world.post(CHAT, {"messages": turns})

    assert sticky.headers["x-pointsman-reason"] == "sticky"
    assert trimmed.headers["x-pointsman-reason"] == "default"


async def test_a_dry_run_shows_what_would_be_left_out(world, capped):
    """And touches nothing: no request is counted."""
    turns = [{"role": role, "content": "x" * 700} for role in ("user", "assistant")]
    body = {"messages": [*turns, *turns, {"role": "user", "content": "And now?"}]}

    without = (await world.post("/v1/route", body)).json()
    capped({"high_tokens": 500, "low_tokens": 250})
    shown = (await world.post("/v1/route", body)).json()

    assert without["history"] is None
    assert shown["history"] == {
        "mode": "drop",
        "high_tokens": 500,
        "low_tokens": 250,
        "dropped": 2,
        "dropped_tokens": 410,
        "summarised": False,
    }
    assert shown["prompt_tokens_estimate"] < without["prompt_tokens_estimate"]
    assert world.count("pointsman_history_trimmed_total", tier="local", mode="drop") == 0


async def test_only_the_tier_with_a_budget_is_trimmed(world, capped, engine):
    """Another tenant's conversation passes whole."""
    capped({"high_tokens": 100})
    turns = [{"role": role, "content": "x" * 700} for role in ("user", "assistant", "user")]
    world.lanes.answers = [engine()]

    response = await world.post(CHAT, {"messages": turns}, key="acme")

    assert "x-pointsman-history" not in response.headers
    assert world.lanes.opened[0].body["messages"] == turns

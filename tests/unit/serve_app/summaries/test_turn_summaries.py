"""A summary in the place of the turns that the history budget leaves out."""

import json

import pytest

from benchmarks.support.agent_bodies import DIALECTS
from serve_app.config.tenants import TenantsConfig
from tests.unit.serve_app.conftest import with_tier
from tests.unit.serve_app.summaries.summaries import (
    AGENTS,
    CHAT,
    HISTORY,
    MESSAGES,
    RESPONSES,
    UNBOUND,
    every_dialect,
    long,
    written,
)

TOLD = "x-pointsman-history"
SYSTEM = {"role": "system", "content": "Be brief."}


def turns(count):
    """So many turns of a call each, of about 100 tokens."""
    return [[["read", {"n": n}, f"result {n}: " + "word " * 60]] for n in range(count)]


def text_of(item) -> str:
    return json.dumps(item)


def first_user(prompt):
    return next(item for item in prompt if item.get("role") == "user")


@every_dialect
async def test_a_summary_stands_where_old_turns_were(replicas, path):
    made = replicas(history=HISTORY)
    assert TOLD not in (await made.ask(path, turns(3))).headers

    response = await made.ask(path, turns(9))

    assert response.headers[TOLD].startswith("summarised; dropped=")
    first = made.prompt[0]
    assert first["role"] == "user" and "Summary number 1." in text_of(first)
    assert "result 0" not in text_of(made.prompt) and "result 8" in text_of(made.prompt)
    asked = made.lanes.asked_text
    assert "User: Task 0" in asked and "Tool result: result 0" in asked
    assert "Assistant calls any" in asked or "Assistant calls read" in asked
    assert made.outcomes("history") == {"made": 1}
    assert made.world.count("pointsman_history_trimmed_total", tier="paid", mode="summarise") == 1


@every_dialect
async def test_the_prefix_holds_between_moves_on_every_replica(replicas, path):
    """Each summary goes on from the one before it, and is made once."""
    made = replicas(history=HISTORY)
    before, moves, first_words = [], 0, []
    for count in range(1, 16):
        await made.ask(path, turns(count))
        if made.prompt[: len(before)] != before:
            moves += 1
            first_words.append(text_of(first_user(made.prompt)))
        before = made.prompt
        made.next()

    assert 1 < moves <= 5
    assert len(made.lanes.asked_for) == moves
    assert [f"Summary number {n + 1}." in words for n, words in enumerate(first_words)] == [
        True
    ] * moves
    # What the last one was made from: the summary before it, and not the turns before that.
    asked = made.lanes.asked_text
    assert f"Summary number {moves - 1}." in asked and "result 0:" not in asked


async def test_system_prompts_stay_before_it(replicas):
    made = replicas(history=HISTORY)
    body = DIALECTS[CHAT](turns(9))
    body["messages"] = [SYSTEM, *body["messages"]]

    await made.send(CHAT, body)

    assert made.prompt[0] == SYSTEM and "Summary number 1." in made.prompt[1]["content"]
    assert "Be brief." not in made.lanes.asked_text


@pytest.mark.parametrize("content", ["", None, [{"type": "text", "text": "Task 5"}]])
async def test_whatever_the_first_message_is_it_takes_the_summary(replicas, content):
    made = replicas(history=HISTORY)
    body = DIALECTS[CHAT](turns(9))
    for message in body["messages"]:
        if message["role"] == "user":
            message["content"] = content

    await made.send(CHAT, body)

    first = made.prompt[0]
    assert "Summary number 1." in text_of(first)
    assert isinstance(first["content"], list) == isinstance(content, list)


async def test_responses_take_it_as_their_own_kind_of_text(replicas):
    made = replicas(history=HISTORY)
    body = DIALECTS[RESPONSES](turns(9))
    for item in body["input"]:
        if item.get("role") == "user":
            item["content"] = [{"type": "input_text", "text": item["content"]}]

    await made.send(RESPONSES, body)

    assert [part["type"] for part in made.prompt[0]["content"]] == ["input_text", "input_text"]


async def test_a_stored_conversation_is_summarised_as_one_that_is_sent(replicas):
    """The engine reads the same, the summary is made once, and what is stored stays whole."""
    made = replicas(history=HISTORY, responses={})
    body = DIALECTS[RESPONSES](turns(9))
    given, said = body["input"], {"role": "user", "content": "And now?"}
    first = (await made.send(RESPONSES, body)).json()

    more = {"store": False}
    continued = await made.send(
        RESPONSES, {**body, **more, "input": [said], "previous_response_id": first["id"]}
    )
    read = made.prompt
    whole = await made.send(RESPONSES, {**body, **more, "input": [*given, *first["output"], said]})

    assert read == made.prompt and "Summary number 1." in text_of(read[0])
    assert len(made.lanes.asked_for) == 1
    names = ("x-session-id", TOLD)
    assert [continued.headers[x] for x in names] == [whole.headers[x] for x in names]
    async with made.world.client(key="acme") as client:
        listed = await client.get(f"{RESPONSES}/{first['id']}/input_items?limit=100")
    assert len(listed.json()["data"]) == len(given)


async def test_where_none_can_be_made_turns_are_dropped_and_stay_dropped(replicas):
    made = replicas(history=HISTORY)
    made.lanes.writes = lambda _: written(None)
    response = await made.ask(CHAT, turns(9))
    assert response.headers[TOLD].startswith("trimmed; dropped=")
    before = made.prompt
    assert "ummary" not in text_of(before)
    assert made.world.count("pointsman_history_trimmed_total", tier="paid", mode="drop") == 1

    made.lanes.writes = lambda _: written("Later.")
    made.next()
    await made.ask(CHAT, [*turns(9), [["read", {}, "short"]]])

    assert made.prompt[: len(before)] == before
    assert len(made.lanes.asked_for) == 1


async def test_the_next_move_has_one_again_from_the_turns_themselves(replicas):
    made = replicas(history=HISTORY)
    made.lanes.writes = lambda _: written(None)
    await made.ask(CHAT, turns(7))
    made.lanes.writes = lambda _: written("At last.")

    response = await made.ask(CHAT, turns(15))

    assert response.headers[TOLD].startswith("summarised")
    assert "result 0:" in made.lanes.asked_text and "At last." in text_of(made.prompt[0])


async def test_the_same_turns_in_another_session_have_the_same_summary(replicas):
    made = replicas(history=HISTORY)
    for session in ("one", "two"):
        await made.ask(CHAT, turns(9), headers={"x-session-id": session})

    assert len(made.lanes.asked_for) == 1
    assert made.outcomes("history") == {"made": 1, "found": 1}


async def test_marks_that_clients_move_change_nothing(replicas):
    made = replicas(history=HISTORY)
    body = DIALECTS[MESSAGES](turns(9))
    await made.send(MESSAGES, body)

    body["messages"][0]["content"][0]["cache_control"] = {"type": "ephemeral"}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    body["messages"][1]["content"].insert(0, thought)
    await made.send(MESSAGES, body)

    assert len(made.lanes.asked_for) == 1


async def test_long_results_are_summarised_in_what_is_kept_and_cut_in_what_is_not(replicas):
    """Nobody waits for the summary of a result that the engine will not read."""
    made = replicas(agents=AGENTS, history={**HISTORY, "high_tokens": 1000, "low_tokens": 400})
    all_turns = [[["read", {}, long(str(n))]] for n in range(8)]

    response = await made.ask(CHAT, all_turns)

    told = response.headers["x-pointsman-tool-results"]
    assert told.startswith("summarised; results=2;") and response.headers[TOLD].startswith("summ")
    assert made.outcomes("tool_result") == {"made": 2}
    assert made.outcomes("history") == {"made": 1}
    (asked,) = (x for x in made.lanes.asked_for if "conversation" in text_of(x.body))
    assert "bytes cut here" in text_of(asked.body)


async def test_a_cut_does_not_move_with_the_length_of_a_summary(replicas):
    """The sizes of results are the same whether they are summarised or shortened."""
    history = {"high_tokens": 1500, "low_tokens": 600}
    made = replicas(agents=AGENTS, history=history)
    all_turns = [[["read", {}, long(str(n))]] for n in range(9)]
    headers = []
    for writes in ("Short.", "word " * 60, None):
        made.lanes.writes = lambda _, text=writes: written(text)
        response = await made.ask(CHAT, all_turns, headers={"x-session-id": str(writes)[:4]})
        headers.append(response.headers[TOLD])
        (made.world.folder / "summaries.db").unlink()
        made.next()

    assert len(set(headers)) == 1


async def test_a_dry_run_says_whether_there_is_one(replicas):
    made = replicas(history=HISTORY)
    body = {"messages": DIALECTS[CHAT](turns(9))["messages"]}
    before = (await made.world.post("/v1/route", body, key="acme")).json()
    await made.send(CHAT, body)
    after = (await made.world.post("/v1/route", body, key="acme")).json()

    assert before["history"]["mode"] == "summarise" and not before["history"]["summarised"]
    assert after["history"]["summarised"] and before["history"]["dropped"] > 0
    assert len(made.lanes.asked_for) == 1


async def test_a_tenants_own_history_is_summarised(replicas):
    made = replicas(agents=UNBOUND)
    with_tier(made.world, agents=UNBOUND, history=HISTORY)

    await made.ask(CHAT, turns(9))

    assert len(made.lanes.asked_for) == 1


def test_a_session_that_is_cut_before_it_is_refused_counts_the_summary():
    history = {"high_tokens": 1000, "mode": "summarise", "summary": {"max_tokens": 300}}
    tier = {"history": history, "kv": {"tokens_per_session": 1200}}
    with pytest.raises(ValueError, match="cut before it is refused"):
        TenantsConfig.model_validate({"tiers": {"any": tier}})

    tier["history"] = {**history, "mode": "drop"}
    with pytest.raises(ValueError, match="summary is for 'mode: summarise'"):
        TenantsConfig.model_validate({"tiers": {"any": tier}})
    del tier["history"]["summary"]
    TenantsConfig.model_validate({"tiers": {"any": tier}})


async def test_a_request_is_planned_with_room_for_the_summary_that_it_waits_for(
    replicas, monkeypatch
):
    """Else a prompt that fits its lane's window no more would be found out by the engine."""
    made = replicas(history=HISTORY)
    made.lanes.writes = lambda _: written("word " * 400)
    reserving, plans = made.world.pipeline.reserving, []
    reserve = reserving.reserve

    async def noting(call, plan):
        plans.append((call, plan))
        return await reserve(call, plan)

    monkeypatch.setattr(reserving, "reserve", noting)
    for turn_count in (9, 9):
        await made.ask(CHAT, turns(turn_count))

    (first, planned), (_, known) = plans
    sizes = [x.parsed.prompt.bytes for x in (planned, first.plan, known)]
    assert sizes[0] >= sizes[1] == sizes[2] > sizes[0] - 200

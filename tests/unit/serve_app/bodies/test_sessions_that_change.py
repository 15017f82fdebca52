"""A conversation is one session and one hot prefix, whatever its client writes anew each turn."""

import orjson
import pytest

from router.placement.affinity import TurnFacts
from router.placement.session import derive_session_id, session_key
from router.placement.spilled_sessions import session_hash
from serve_app.bodies import prefixes
from serve_app.bodies.opening import opening_of
from serve_app.bodies.parsed_request import parse
from serve_app.bodies.prefixes import prefix_of
from serve_app.bodies.routes import ROUTES
from serve_app.config.serving import TimeoutConfig
from serve_app.engine.warm_up import together
from serve_app.placement.lanes import Lanes
from serve_app.placement.turn_placement import build_placements
from tests.unit.serve_app.bodies.recorded_shapes import CLIENTS, TURNS, history, terminal_agent
from tests.unit.serve_app.placement.test_turn_placement import FLEET as PLACED_FLEET
from tests.unit.serve_app.placement.test_turn_placement import FakeHandle, FakeUpstream

CASES = pytest.mark.parametrize(("path", "make"), CLIENTS.values(), ids=CLIENTS)


def opening(path, body) -> tuple[str, str]:
    return opening_of(parse(orjson.dumps(body), ROUTES[path]))


async def session_of(world, engine, path, body, key="acme") -> str:
    world.lanes.answers.append(engine())
    answer = await world.post(path, body, key=key)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-session-id"]


@CASES
async def test_all_turns_of_a_conversation_are_one_session(world, engine, path, make):
    """Over HTTP, as the client sees it; every turn has another system prompt."""
    bodies = [make(turn) for turn in range(TURNS)]
    assert (
        len(
            {
                orjson.dumps([x.get("system"), x.get("instructions"), x.get("messages", [{}])[0]])
                for x in bodies
            }
        )
        == TURNS
    )

    ids = {await session_of(world, engine, path, body) for body in bodies}

    assert len(ids) == 1


@CASES
async def test_another_question_project_or_tenant_is_another_session(world, engine, path, make):
    """At every turn."""
    for turn in (0, 3):
        bodies = [make(turn), make(turn, question="Something else."), make(turn, project="farm")]
        ids = [await session_of(world, engine, path, body) for body in bodies]
        ids.append(await session_of(world, engine, path, bodies[0], key="root"))
        assert len(set(ids)) == 4


@CASES
async def test_one_prompt_is_one_hot_prefix_and_the_newest_copy_is_read(world, engine, path, make):
    """Not one for each turn, which would be all that a new replica reads."""
    bodies = [make(turn) for turn in range(TURNS)]
    for body in bodies:
        await session_of(world, engine, path, body)

    (hot,) = world.state.hot_prefixes("chat", 32)

    assert hot["weight"] == pytest.approx(TURNS, rel=0.01)
    assert hot["prefix"] == prefix_of(parse(orjson.dumps(bodies[-1]), ROUTES[path]))
    assert len({prefix_of(parse(orjson.dumps(x), ROUTES[path])) for x in bodies}) > 1


async def test_prompts_that_differ_in_words_are_prefixes_of_their_own(world, engine):
    """In the prompt, in the tools, in what shapes it, and by tenant."""
    body = terminal_agent(0)
    other_tools = {**body, "tools": [{**body["tools"][0], "description": "Read two files."}]}
    for sent in (body, terminal_agent(0, project="farm"), other_tools, {**body, "tools": []}):
        await session_of(world, engine, "/v1/messages", sent)
    await session_of(world, engine, "/v1/messages", body, key="root")

    assert len(world.state.hot_prefixes("chat", 32)) == 5


async def test_a_clock_in_a_tool_s_description_changes_nothing(world, engine):
    """Some agents tell the date there."""
    for day in (28, 29):
        body = terminal_agent(0)
        told = f"Search.\nToday's date: 2026-11-{day}\nUse it in queries."
        await session_of(
            world,
            engine,
            "/v1/messages",
            {**body, "tools": [{**body["tools"][0], "description": told}]},
        )

    assert len(world.state.hot_prefixes("chat", 32)) == 1


def test_the_same_tools_are_read_once(monkeypatch):
    """Not with every turn, and only so many are remembered."""
    monkeypatch.setattr(prefixes, "_TOOLS", {})
    monkeypatch.setattr(prefixes, "MAX_TOOLS", 3)
    asked = []
    monkeypatch.setattr(prefixes, "stable_text", lambda text: asked.append(text) or text)

    def key(number: int, turn: int = 0) -> bytes:
        tools = [{"name": f"tool-{number}", "input_schema": {}}]
        body = terminal_agent(turn) | {"tools": tools}
        return prefixes.prefix_key(parse(orjson.dumps(body), ROUTES["/v1/messages"]))

    key(0, turn=1)
    assert len(asked) == 2
    key(0, turn=2)
    assert len(asked) == 3
    first = key(0)
    assert len({first, *map(key, range(1, 5))}) == 5
    assert len(prefixes._TOOLS) == 3
    assert key(0) == first


def test_several_ingress_replicas_hold_one_prefix_between_them():
    """By its key; the copy that was seen last is read."""
    old = {"salt": "s", "prefix": b"at 10:04", "weight": 2.0, "key": b"k", "age_s": 9.0}
    new = {"salt": "s", "prefix": b"at 10:05", "weight": 1.0, "key": b"k", "age_s": 1.0}
    other = {**new, "salt": "t"}

    hot = together([[old], [new, other]], 8)

    assert [(x.group, x.prefix, x.weight) for x in hot] == [
        ("s", b"at 10:05", 3.0),
        ("t", b"at 10:05", 1.0),
    ]


@CASES
async def test_every_turn_goes_to_one_replica_of_eight(path, make):
    """As the lanes are asked while serving; other sessions are spread."""

    async def chosen(body) -> str:
        session = session_key("acme", derive_session_id("acme", *opening(path, body)))
        replica = await lanes.choose("chat", TurnFacts(session_hash("tenant:acme"), session))
        (await lanes.open(replica, path, b"", {})).close()
        return replica.id

    handle = FakeHandle({f"r{number}": {} for number in range(8)})
    lanes = Lanes({"chat": handle}, "secret", TimeoutConfig(), build_placements(PLACED_FLEET, "me"))
    lanes._upstream = FakeUpstream()

    assert len({await chosen(make(turn)) for turn in range(TURNS)}) == 1
    assert len({await chosen(make(0, question=f"Question {n}?")) for n in range(40)}) > 1


GREETED = [{"role": "assistant", "content": "Hello!"}, *history("Hi?", 2)]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/completions", {"prompt": "At 10:04"}, ("", "At 10:04")),
        ("/v1/responses", {"input": "Hi?"}, ("", "Hi?")),
        ("/v1/responses", {"input": "Hi?", "instructions": "Be kind."}, ("Be kind.", "Hi?")),
        (
            "/v1/messages",
            {"messages": history("Hi?", 3), "system": "Be kind."},
            ("Be kind.", "Hi?"),
        ),
        ("/v1/chat/completions", {"messages": GREETED}, ("", "Hi?")),
        ("/v1/chat/completions", {"messages": [{"role": "assistant", "content": "x"}]}, ("", "")),
        (
            "/v1/chat/completions",
            {
                "messages": [
                    {"role": "system", "content": "One."},
                    {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
                    {"role": "user", "content": [{"type": "image_url"}]},
                    {"role": "system", "content": "Of this turn."},
                    {"role": "user", "content": "Hi?"},
                    {"role": "system", "content": "Of that turn."},
                ]
            },
            ("One.\nTwo.", "Hi?"),
        ),
        # The user's own clock is the user's.
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "Is it 10:04 on 2026-11-29?"}]},
            ("", "Is it 10:04 on 2026-11-29?"),
        ),
        # Nothing is the user's own: the agent's words, without what changes.
        (
            "/v1/chat/completions",
            {
                "messages": [
                    {"role": "user", "content": "<env>\nIt is 10:04.\nIn /home/me.\n</env>"},
                    {"role": "assistant", "content": "x"},
                    {"role": "user", "content": "Later words."},
                ]
            },
            ("", "<env>\nIn /home/me.\n</env>"),
        ),
    ],
)
def test_what_a_derived_session_is_made_of(path, body, expected):
    """Neither system messages of later turns, nor what agents write into the user's turn."""
    assert opening(path, body) == expected

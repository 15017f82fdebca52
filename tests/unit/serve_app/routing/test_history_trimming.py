"""Old turns are left out of what the engine reads, in every dialect."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.routing.history import Kind, Piece, size_tokens
from router.tokens import TOKENS_PER_MESSAGE
from serve_app.bodies.parsed_request import ParsedRequest, parse
from serve_app.bodies.routes import ROUTES
from serve_app.bodies.steps import at_once
from serve_app.config.history import HistoryConfig
from serve_app.routing.history import trimming
from serve_app.routing.history_pieces import MEDIA_TOKENS, read_pieces, read_sizes

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
# One byte a token, and 5 tokens a message: texts of 45 are messages of 50.
BUDGET = HistoryConfig(high_tokens=200, low_tokens=100, bytes_per_token=1)
LONG = "x" * 45


def trim(path, body, config=BUDGET):
    parsed = parse(json.dumps(body).encode(), ROUTES[path])
    assert isinstance(parsed, ParsedRequest)
    return at_once(trimming(parsed, config))


def said(role, content=LONG, **fields) -> dict:
    return {"role": role, "content": content, **fields}


def part(kind, **fields) -> dict:
    return {"type": kind, **fields}


def read(item) -> Piece:
    (piece,) = read_pieces([item], read_sizes([item], 1.0))
    return piece


SYSTEM = said("system", "Be brief.")
OLD = [said("user"), said("assistant"), said("user"), said("assistant")]
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_a_chat_keeps_its_system_prompt_its_tools_and_its_newest_turns():
    """What is kept is the client's own, and other fields stay."""
    newest = [said("user"), said("assistant", None, tool_calls=[CALL]),
              said("tool", "42", tool_call_id="a")]  # fmt: skip
    body = {"messages": [SYSTEM, *OLD, *newest], "tools": [{"type": "function"}], "top_k": 3}

    trimmed = trim(CHAT, body)

    assert trimmed.parsed.body == {**body, "messages": [SYSTEM, *newest]}
    assert (trimmed.dropped, trimmed.dropped_tokens) == (4, 200)
    assert trimmed.header == b"trimmed; dropped=4; tokens=200"


def test_anthropic_messages_keep_tool_results_with_their_calls():
    """A user message that brings results begins no turn; the system field stays."""
    newest = [
        said("user"),
        said("assistant", [part("tool_use", id="a", name="f", input={"q": 1})]),
        said("user", [part("tool_result", tool_use_id="a", content=LONG), part("text", text="?")]),
    ]
    body = {"system": "Be brief.", "messages": [*OLD, *newest], "max_tokens": 5}

    trimmed = trim(MESSAGES, body)

    assert trimmed.parsed.body == {**body, "messages": newest}


def test_responses_keep_reasoning_calls_and_outputs_with_their_turn():
    """Items of one turn stay together, whatever they are."""
    newest = [
        part("message", role="user", content=[part("input_text", text=LONG)]),
        part("reasoning", id="r", summary=[]),
        part("function_call", call_id="a", name="f", arguments="{}"),
        part("function_call_output", call_id="a", output=LONG),
    ]
    body = {"instructions": "Be brief.", "input": [said("developer"), *OLD, *newest]}

    trimmed = trim(RESPONSES, body)

    assert trimmed.parsed.body == {**body, "input": [said("developer"), *newest]}


def test_a_late_result_of_a_dropped_call_goes_with_it():
    """The rest of its message stays."""
    late = part("tool_result", tool_use_id="a", content="late")
    body = {
        "messages": [
            said("user"),
            said("assistant", [part("tool_use", id="a", name="f", input={})]),
            *OLD,
            said("user"),
            said("user", [late, part("text", text="go on")]),
        ],
        "max_tokens": 5,
    }

    trimmed = trim(MESSAGES, body)

    assert trimmed.parsed.body["messages"] == [
        *OLD[2:],
        said("user"),
        said("user", [part("text", text="go on")]),
    ]


def test_a_late_tool_message_of_a_dropped_call_is_left_out():
    """It has nothing but the result."""
    messages = [said("user"), said("assistant", "", tool_calls=[CALL]), *OLD, said("user")]
    body = {"messages": [*messages, said("tool", "late", tool_call_id="a")]}

    trimmed = trim(CHAT, body)

    assert trimmed.parsed.body["messages"] == [*OLD[2:], said("user")]
    assert trimmed.dropped == 5


def test_what_routing_reads_is_what_the_engine_will_read():
    """Size and turns shrink; the text that names the session stays."""
    body = {"messages": [SYSTEM, *OLD, said("user", "Newest")]}
    whole = parse(json.dumps(body).encode(), ROUTES[CHAT])

    prompt = trim(CHAT, body).parsed.prompt

    assert prompt.messages == 2
    assert prompt.bytes < whole.prompt.bytes
    assert (prompt.system, prompt.users, prompt.dropped_users) == (
        "Be brief.",
        (LONG, LONG, "Newest"),
        2,
    )


def test_only_the_request_that_moves_the_cut_says_so():
    """The next ones have the same prefix."""
    turns = [OLD, OLD[:1], OLD[1:3]]
    messages = [m for turn in turns[:2] for m in turn]

    first = trim(CHAT, {"messages": messages})
    second = trim(CHAT, {"messages": [*messages, *turns[2]]})

    assert (first.moved, second.moved) == (True, False)
    assert second.parsed.body["messages"][:1] == first.parsed.body["messages"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": OLD[:3]}),
        (CHAT, {"messages": [said("user", "x" * 5000)]}),
        ("/v1/completions", {"prompt": "x" * 5000}),
        (RESPONSES, {"input": "x" * 5000}),
        ("/v1/messages/count_tokens", {"messages": [*OLD, *OLD]}),
    ],
    ids=["under the mark", "one turn", "no turns", "a text", "only counted"],
)
def test_other_requests_pass_as_they_came(path, body):
    """There is nothing to leave out."""
    assert trim(path, body) is None


def test_there_is_no_budget_unless_the_tier_has_one():
    """Off by default."""
    assert trim(CHAT, {"messages": OLD * 50}, None) is None


@pytest.mark.parametrize(
    ("item", "tokens"),
    [
        (said("user", "four"), 4),
        (said("user", "é€"), 5),
        (said("user", "\ud800"), 3),
        (said("user", [part("text", text="four", cache_control={"type": "ephemeral"})]), 4),
        (said("assistant", None, tool_calls=[CALL]), 3),
        (said("assistant", "four", reasoning_content="long thought"), 4),
        (said("assistant", [part("tool_use", id="a", name="f", input={"q": 1})]), 8),
        (said("user", [part("tool_result", tool_use_id="a", content="four")]), 4),
        (said("user", [part("tool_result", content=[part("text", text="four")])]), 4),
        (said("user", [part("image_url", image_url={"url": "data:" + "A" * 9000})]), MEDIA_TOKENS),
        (said("user", [part("image", source={"data": "A" * 9000})]), MEDIA_TOKENS),
        (part("function_call", call_id="a", name="f", arguments="{}"), 3),
        (part("function_call_output", call_id="a", output="four"), 4),
        ("four", 4),
        (None, 0),
        ([[[[[[[[[[[[[[[["too deep to be text"]]]]]]]]]]]]]]]], 0),
    ],
)
def test_a_message_is_as_long_as_the_text_in_it(item, tokens):
    """Ids, marks that clients move, thoughts and the bytes of pictures do not count."""
    assert read(item).tokens == tokens + TOKENS_PER_MESSAGE


@pytest.mark.parametrize(
    ("item", "kind", "calls", "answers"),
    [
        (said("system"), Kind.PINNED, (), ()),
        (said("developer", [part("text", text="x")]), Kind.PINNED, (), ()),
        (said("user"), Kind.USER, (), ()),
        (said("user", name="Ada"), Kind.USER, (), ()),
        (said("assistant"), Kind.MODEL, (), ()),
        (said("assistant", "", tool_calls=[CALL, {"id": "b"}]), Kind.MODEL, ("a", "b"), ()),
        (said("tool", tool_call_id="a"), Kind.RESULT, (), ("a",)),
        (said("tool"), Kind.RESULT, (), ()),
        (said("assistant", [part("tool_use", id="a")]), Kind.MODEL, ("a",), ()),
        (said("user", [part("tool_result", tool_use_id="a")]), Kind.RESULT, (), ("a",)),
        (part("function_call", call_id="a"), Kind.MODEL, ("a",), ()),
        (part("custom_tool_call_output", call_id="a"), Kind.RESULT, (), ("a",)),
        (part("reasoning", id="r"), Kind.MODEL, (), ()),
        (said("assistant", None, tool_calls=[{"id": 5}, "x"]), Kind.MODEL, (), ()),
        (3, Kind.MODEL, (), ()),
    ],
)  # fmt: skip
def test_every_dialect_is_read_for_turns_calls_and_results(item, kind, calls, answers):
    """One kind of piece for each."""
    piece = read(item)

    assert (piece.kind, piece.calls, piece.answers) == (kind, calls, answers)


def test_a_mark_that_a_client_moves_from_turn_to_turn_moves_no_cut():
    """Anthropic clients put `cache_control` on the newest message, and take it off again."""
    marked = [part("text", text=LONG, cache_control={"type": "ephemeral"})]
    bare = [part("text", text=LONG)]

    assert read(said("user", marked)) == read(said("user", bare))


def test_sizes_do_not_depend_on_what_was_learned():
    """A fixed rate: 3.5 bytes a token unless configured."""
    rate = HistoryConfig(high_tokens=64).bytes_per_token

    assert read_sizes([said("user", "x" * 350)], rate) == [size_tokens(350, 3.5)] == [105]


ODD = (None, True, 7, "", "text", [], [None], ["text", 3], {}, {"type": 5}, {"type": "image"})
PARTS = ([{"type": kind, "id": "a", "tool_use_id": "a"}] for kind in ("tool_use", "tool_result"))
values = st.sampled_from([*ODD, *PARTS, {"input": {"a": [1]}}, [{"id": "a"}], "a"])
fields = st.sampled_from(
    ["content", "tool_calls", "tool_call_id", "call_id", "type", "output", "input", "id"]
)
roles = st.sampled_from(["system", "user", "assistant", "tool", "odd"])
items = st.builds(lambda role, more: {**more, "role": role}, roles, st.dictionaries(fields, values))


@given(st.lists(items, min_size=1, max_size=8), st.sampled_from([CHAT, MESSAGES, RESPONSES]))
def test_arbitrary_messages_are_cut_without_fault(turns, path):
    """What is left is a part of what came, system prompts and all that is newest."""
    config = HistoryConfig(high_tokens=64, low_tokens=1, bytes_per_token=1)

    trimmed = trim(path, {"messages": turns, "input": turns}, config)

    if trimmed is not None:
        kept = trimmed.parsed.body["input" if path == RESPONSES else "messages"]
        assert [x for x in turns if x["role"] == "system"] == [
            x for x in kept if x["role"] == "system"
        ]
        assert len(kept) == len(turns) - trimmed.dropped > 0
        assert trim(path, {"messages": kept, "input": kept}, config) is None

"""What must always hold of tasks, loops and the order of tools."""

import json

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.support.agent_bodies import DIALECTS
from router.agents.loops import LoopKind, LoopRules, find_loop
from router.agents.task import Call, Result
from router.agents.task_table import TaskTable
from router.errors import Rejected
from serve_app.agents.guard import guarding
from serve_app.agents.history import canonical, has_results, items_of, reading_task
from serve_app.agents.tool_order import in_order
from serve_app.bodies.parsed_request import ParsedRequest, parse
from serve_app.bodies.routes import ROUTES
from serve_app.bodies.steps import at_once
from serve_app.config.agents import AgentConfig
from tests.examples import examples

RULES = LoopRules()
names = st.sampled_from(["read", "write", "list", "grep"])
json_values = st.recursive(
    st.sampled_from([None, True, 0, -7, 1, 2**70, "", "1", "é"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner,
        max_size=3),
    max_leaves=6,
)  # fmt: skip
objects = st.dictionaries(st.sampled_from("abcd"), json_values, max_size=3)
calls = st.tuples(names, objects, st.sampled_from(["same", "other", "third"])).map(list)
turns = st.lists(st.lists(calls, max_size=6), min_size=1, max_size=4)


def step(name, arguments, result):
    return (Call("", name, json.dumps(arguments), Result(len(result), result.encode())),)


@given(turns)
@examples(60)
def test_every_dialect_tells_the_same_task(conversation):
    tasks = [at_once(reading_task(make(conversation), path)) for path, make in DIALECTS.items()]

    assert len({task.turn_depth for task in tasks}) == 1
    assert tasks[0].turn_depth == len(conversation[-1])
    assert tasks[0].depth == sum(map(len, conversation))
    for task in tasks:
        called = [call for each in task.steps for call in each]
        assert [call.name for call in called] == [call[0] for turn in conversation for call in turn]
        assert all(call.result is not None for call in called)


@given(turns, st.integers(2, RULES.max_period), st.data())
@examples(60)
def test_a_cycle_is_found_when_its_last_round_ends_whatever_was_before(before, period, data):
    begun = [step(*call) for call in before[0]]
    kinds = [step(f"loop{n}", {}, "same") for n in range(period)]
    rounds = RULES.cycle
    turn = begun + kinds * rounds

    assert find_loop(turn, RULES) is not None
    assert find_loop([*turn, step("other", {}, "new")], RULES) is None
    cut = data.draw(st.integers(0, period * (rounds - 1) - 1))
    assert find_loop(kinds * (rounds - 1) + kinds[: cut % period], RULES) is None


@given(st.lists(st.tuples(names, st.integers(0, 3)), max_size=60))
@examples(100)
def test_work_that_always_brings_something_new_is_no_loop(made):
    rules = LoopRules(repeats=2, cycle=2, near=2, changing=None)
    turn = [step(name, {"at": at}, f"result {n}") for n, (name, at) in enumerate(made)]

    assert find_loop(turn, rules) is None


@given(st.lists(st.tuples(names, st.integers(0, 1), st.integers(0, 1)), max_size=40))
@examples(100)
def test_a_loop_is_told_by_calls_that_were_made(made):
    turn = [step(name, {"at": at}, str(result)) for name, at, result in made]

    loop = find_loop(turn, LoopRules(repeats=3, cycle=2, near=4, changing=3))

    if loop is not None:
        assert set(loop.tools) <= {name for name, _, _ in made}
        assert loop.kind in LoopKind and loop.rounds >= 2


@given(json_values, st.data())
@examples(100)
def test_arguments_are_the_same_in_any_order_and_spacing(value, data):
    other = mixed(value, data)

    one = json.dumps(value, indent=data.draw(st.sampled_from([None, 1, 4])))
    assert canonical(one) == canonical(json.dumps(other, ensure_ascii=False))


def mixed(value, data):
    """The same value with the keys of its objects in another order."""
    if isinstance(value, list):
        return [mixed(inner, data) for inner in value]
    if not isinstance(value, dict):
        return value
    return {key: mixed(value[key], data) for key in data.draw(st.permutations(list(value)))}


@given(st.dictionaries(st.text(max_size=2), objects, max_size=4), st.sampled_from("cmr"), st.data())
@examples(100)
def test_tools_in_any_order_are_the_same_bytes(schemas, form, data):
    make = {
        "c": lambda name, schema: {"type": "function",
                                   "function": {"name": name, "parameters": schema}},
        "m": lambda name, schema: {"name": name, "input_schema": schema},
        "r": lambda name, schema: {"type": "function", "name": name, "parameters": schema},
    }[form]  # fmt: skip
    tools = [make(name, schema) for name, schema in schemas.items()]
    other = mixed(data.draw(st.permutations(tools)), data)

    ordered = in_order(tools)

    assert json.dumps(in_order(other)) == json.dumps(ordered)
    assert in_order(ordered) == ordered
    assert len(ordered) == len(tools) and all(tool in tools for tool in ordered)


wild_items = st.dictionaries(
    st.sampled_from(["role", "type", "content", "tool_calls", "function_call", "tool_call_id",
                     "call_id", "output", "name", "arguments", "input", "id", "tool_use_id"]),
    json_values
    | st.sampled_from(["user", "assistant", "tool", "function_call", "function_call_output",
                       "tool_result", "tool_use", [{"type": "tool_result"}],
                       [{"function": {"name": "f"}}], [{"type": "tool_use", "id": "a"}]]),
    max_size=5,
)  # fmt: skip


@given(st.lists(wild_items | json_values, max_size=8), st.sampled_from(list(DIALECTS)))
@examples(150)
def test_any_conversation_can_be_read(items, path):
    body = {"messages": items, "input": items}

    has_results(items_of(body, path))
    task = at_once(reading_task(body, path))

    assert 0 <= task.turn_depth <= task.depth


CONFIGS = [
    AgentConfig(turn_depth=1, on_depth="finish", tool_results={}, tool_order="canonical"),
    AgentConfig(turn_depth=None, loops={"repeats": 2, "cycle": 2, "near": 2}),
    AgentConfig(loops={"repeats": 2, "action": "stop"}),
]


@given(st.lists(wild_items, min_size=1, max_size=8), st.sampled_from(list(DIALECTS)),
       st.sampled_from(CONFIGS), json_values)  # fmt: skip
@examples(150)
def test_any_request_that_is_taken_can_be_guarded(items, path, config, tool):
    tools = [{"type": "function", "name": "f", "function": {"name": "f"}}]
    if path == "/v1/chat/completions":
        tools.append(tool)
    said = [{"role": "user", **item} for item in items]
    body = {"messages": said, "input": said, "tools": tools, "max_tokens": 5}
    if path == "/v1/messages":
        body["tools"] = [{"name": "f"}]
    parsed = parse(json.dumps(body).encode(), ROUTES[path])
    if isinstance(parsed, Rejected):
        return

    guarded = at_once(guarding(parsed, config, TaskTable(), "", 0.0))

    if not isinstance(guarded, Rejected):
        assert isinstance(guarded.parsed, ParsedRequest)
        assert isinstance(
            parse(json.dumps(guarded.parsed.body).encode(), ROUTES[path]), ParsedRequest
        )
        assert guarded.parsed.prompt.bytes >= 0

"""The bounds of a tier, applied to requests in every dialect."""

import json

import pytest

from benchmarks.support.agent_bodies import DIALECTS
from router.agents.bounds import Limit
from router.agents.loops import LoopKind
from router.agents.task_table import TaskTable
from router.errors import Rejected, RejectReason
from serve_app.agents.guard import Guarded, guarding
from serve_app.agents.results import ShortenedResults
from serve_app.bodies.parsed_request import ParsedRequest, parse
from serve_app.bodies.routes import ROUTES
from serve_app.bodies.steps import at_once
from serve_app.config.agents import AgentConfig
from serve_app.config.history import HistoryConfig
from serve_app.routing.history import trimming

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
QUIET = {"turn_depth": None, "task_depth": None, "loops": None}
every_dialect = pytest.mark.parametrize("path", DIALECTS)


def parsed_of(body, path) -> ParsedRequest:
    parsed = parse(json.dumps(body).encode(), ROUTES[path])
    assert isinstance(parsed, ParsedRequest), parsed
    return parsed


def guard(body, path=CHAT, *, tasks=None, now=0.0, key="task", **config):
    parsed = parsed_of(body, path)
    made = AgentConfig(**{**QUIET, **config})
    table = TaskTable() if tasks is None else tasks
    return at_once(guarding(parsed, made, table, key, now))


def turn(steps, result="done"):
    return [["read", {"line": n}, f"{result} {n}"] for n in range(steps)]


def again(times):
    return [["read", {"line": 1}, "same"]] * times


def newest_text(body, path) -> str:
    """The text of the newest message or item, whatever its form."""
    item = body["input" if path == RESPONSES else "messages"][-1]
    return json.dumps(item, ensure_ascii=False)


def results_of(body, path):
    """The contents of all results."""
    if path == RESPONSES:
        return [x["output"] for x in body["input"] if "output" in x]
    if path == MESSAGES:
        parts = [x["content"] for x in body["messages"] if x["role"] == "user"]
        return [p["content"] for part in parts for p in part if p["type"] == "tool_result"]
    return [x["content"] for x in body["messages"] if x["role"] == "tool"]


@every_dialect
def test_a_turn_over_its_depth_is_refused_with_what_to_do(path):
    assert isinstance(guard(DIALECTS[path]([turn(5)]), path, turn_depth=5), Guarded)

    refusal = guard(DIALECTS[path]([turn(6)]), path, turn_depth=5)

    assert isinstance(refusal, Rejected)
    assert refusal.reason is RejectReason.TOOL_DEPTH_EXCEEDED
    assert "without 'tools'" in refusal.message


@every_dialect
def test_a_turn_at_its_depth_may_finish_without_tools(path):
    body = DIALECTS[path]([turn(5)])
    given = parsed_of(body, path)

    guarded = guard({**body, "tool_choice": "auto"} if path != MESSAGES else body, path,
                    turn_depth=5, on_depth="finish")  # fmt: skip

    assert guarded.is_finished and guarded.exceeded.limit is Limit.TURN_DEPTH
    sent = guarded.parsed
    assert not {"tools", "tool_choice"} & set(sent.body) and sent.tools == 0
    assert "No more tools" in newest_text(sent.body, path)
    assert sent.prompt.messages == given.prompt.messages
    assert given.tools == 1 and "tools" in body


@every_dialect
def test_a_request_without_tools_is_over_no_bound(path):
    body = DIALECTS[path]([turn(50)])
    del body["tools"]

    guarded = guard(body, path, turn_depth=5, task_depth=25, loops={"action": "stop"})

    assert guarded.parsed.body == body


@every_dialect
def test_nor_is_one_that_chooses_none(path):
    choice = {"type": "none"} if path == MESSAGES else "none"
    body = {**DIALECTS[path]([turn(50)]), "tool_choice": choice}

    assert guard(body, path, turn_depth=5).parsed.body == body
    assert isinstance(guard({**body, "tool_choice": "auto"}, path, turn_depth=5), Rejected)


@every_dialect
def test_old_turns_can_be_left_out_of_what_was_cut(path):
    body = DIALECTS[path]([[["read", {}, "x" * 9000]] * 3] * 4)
    history = HistoryConfig(high_tokens=4000, low_tokens=2000)

    cut = guard(body, path, tool_results={"max_tokens": 300}).parsed
    trimmed = at_once(trimming(cut, history))

    assert trimmed is None or trimmed.kept_tokens <= 4000
    whole = at_once(trimming(parsed_of(body, path), history))
    assert whole.dropped > (trimmed.dropped if trimmed else 0)


@every_dialect
def test_a_loop_is_counted_warned_of_or_stopped(path):
    body = DIALECTS[path]([again(5)])

    counted = guard(body, path, loops={"action": "count"})
    assert counted.loop.kind is LoopKind.REPEAT and counted.parsed.body == body

    warned = guard(body, path, loops={"action": "warn"})
    assert warned.loop == counted.loop and warned.parsed.tools == 1
    assert "'read' was called 5 times in a row" in newest_text(warned.parsed.body, path)
    assert warned.parsed.prompt.bytes > counted.parsed.prompt.bytes

    refusal = guard(body, path, loops={"action": "stop"})
    assert refusal.reason is RejectReason.TOOL_DEPTH_EXCEEDED
    assert "'read' was called 5 times in a row" in refusal.message

    finished = guard(body, path, loops={"action": "stop"}, on_depth="finish")
    assert finished.is_finished and "tools" not in finished.parsed.body
    assert "'read' was called 5 times in a row" in newest_text(finished.parsed.body, path)


@every_dialect
def test_a_warning_changes_nothing_before_the_newest_message(path):
    body = DIALECTS[path]([turn(3), again(7)])
    field = "input" if path == RESPONSES else "messages"

    warned = guard(body, path, loops={"action": "warn"}).parsed.body

    assert warned[field][:-1] == body[field][:-1] and warned[field][-1] != body[field][-1]
    assert warned["tools"] == body["tools"]
    assert isinstance(parsed_of(warned, path), ParsedRequest)


@every_dialect
def test_turns_of_four_and_loops_of_other_turns_pass(path):
    body = DIALECTS[path]([again(4), again(4)])

    assert guard(body, path, loops={"action": "stop"}).loop is None


@every_dialect
def test_long_results_are_cut_and_told(path):
    long = "word " * 2000
    body = DIALECTS[path]([[["read", {}, long], ["read", {}, "short"], ["read", {}, long]]])

    guarded = guard(body, path, tool_results={})

    first, second, third = results_of(guarded.parsed.body, path)
    assert first == third and second == "short"
    assert len(first) <= 3500 and "bytes cut here" in first
    assert guarded.results.results == 2
    gone = 2 * (len(long) - len(first))
    assert guarded.results.tokens == int(gone / 3.5)
    assert guarded.header == b"shortened; results=2; tokens=%d" % guarded.results.tokens
    assert guarded.parsed.prompt.bytes == parsed_of(body, path).prompt.bytes - gone
    assert results_of(body, path)[0] == long


@every_dialect
def test_results_are_cut_where_no_tools_are_offered_too(path):
    body = DIALECTS[path]([[["read", {}, "x" * 9000]]])
    del body["tools"]

    assert guard(body, path, tool_results={}).results.results == 1


@every_dialect
def test_short_results_stay_the_clients_own(path):
    body = DIALECTS[path]([turn(3)])

    guarded = guard(body, path, tool_results={})

    assert guarded.results is None and guarded.header is None
    assert guarded.parsed.body == body


def test_only_the_texts_of_a_result_are_cut():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9000}}
    texts = [{"type": "text", "text": letter * 3000} for letter in "ab"]
    body = DIALECTS[CHAT]([[["see", {}, [texts[0], picture, texts[1]]]]])

    (content,) = results_of(guard(body, tool_results={}).parsed.body, CHAT)

    assert content[1] == picture and len(content) == 2
    assert content[0]["text"].startswith("aaa") and content[0]["text"].endswith("bbb")
    kept = DIALECTS[CHAT]([[["see", {}, [picture, texts[0]]]]])
    assert guard(kept, tool_results={}).results is None


def test_several_results_in_one_message_are_counted_each():
    block = {"type": "tool_result", "content": [{"type": "text", "text": "x" * 9000}]}
    blocks = [{**block, "tool_use_id": x} for x in "ab"]
    said = [{"role": "user", "content": [*blocks, {"type": "text", "text": "y" * 9000}, "odd"]}]
    parsed = parsed_of({"messages": said[:1], "max_tokens": 5}, MESSAGES)

    guarded = at_once(guarding(parsed, AgentConfig(tool_results={}), TaskTable(), "", 0))

    content = guarded.parsed.body["messages"][0]["content"]
    assert guarded.results.results == 2
    assert [len(part["content"][0]["text"]) <= 3500 for part in content[:2]] == [True, True]
    assert content[2:] == said[0]["content"][2:]


@pytest.mark.parametrize("content", [None, 5, {}, [], [None, {"text": 5}], [[]]])
def test_results_of_any_form_pass(content):
    body = DIALECTS[CHAT]([[["see", {}, content]] * 5])

    assert guard(body, tool_results={}).results is None
    assert guard(body, tool_results={}, loops={"action": "warn"}).loop is not None


def test_a_note_stands_behind_the_newest_result():
    text = [{"type": "text", "text": "same"}]
    for path, kind in ((CHAT, "text"), (MESSAGES, "text"), (RESPONSES, "input_text")):
        body = DIALECTS[path]([[["see", {}, text]] * 5])
        result = results_of(guard(body, path, loops={"action": "warn"}).parsed.body, path)[-1]
        assert result[:-1] == text
        assert result[-1]["type"] == kind and result[-1]["text"].startswith("<system-note>")


def test_a_note_stands_behind_the_users_words_or_nowhere():
    tasks = TaskTable()
    guard({**DIALECTS[CHAT]([[]]), "max_tokens": 5}, tasks=tasks, task_s=10)
    late = {"tasks": tasks, "now": 11, "task_s": 10, "on_depth": "finish"}

    asked = guard(DIALECTS[CHAT]([[]]), **late).parsed.body["messages"]
    assert asked[0]["content"].startswith("Task 0\n\n<system-note>This task began 11 seconds ago")

    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}
    asked = guard({**DIALECTS[CHAT]([[]]), **parts}, **late).parsed.body["messages"]
    assert [part["type"] for part in asked[0]["content"]] == ["text", "text"]

    tools = DIALECTS[RESPONSES]([])["tools"]
    asked = guard({"input": "Hi", "tools": tools}, RESPONSES, **late).parsed.body["input"]
    assert asked.startswith("Hi\n\n<system-note>")

    begun = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "I"}]}
    finished = guard({**DIALECTS[CHAT]([[]]), **begun}, **late)
    assert finished.is_finished and finished.parsed.body == begun


def test_time_and_tokens_of_a_task_are_those_of_its_id():
    tasks, body = TaskTable(), DIALECTS[CHAT]([turn(1)])
    assert isinstance(guard(body, tasks=tasks, now=0, task_tokens=100), Guarded)
    tasks.spend("task", 101, now=1)

    refusal = guard(body, tasks=tasks, now=2, task_tokens=100)
    assert "101 tokens" in refusal.message
    assert isinstance(guard(body, tasks=tasks, now=2, task_tokens=100, key="other"), Guarded)
    assert "8 seconds" in guard(body, tasks=tasks, now=8, turn_s=5).message
    assert isinstance(guard(DIALECTS[CHAT]([[], []]), tasks=tasks, now=8, turn_s=5), Guarded)


def test_nothing_is_looked_up_where_time_and_tokens_are_not_bounded():
    tasks = TaskTable()
    guard(DIALECTS[CHAT]([turn(1)]), tasks=tasks)

    assert len(tasks) == 0


@every_dialect
def test_tools_are_put_in_order_where_the_tier_says_so(path):
    body = DIALECTS[path]([[]])
    body["tools"] = [*json.loads(json.dumps(body["tools"]).replace("any", "write")), *body["tools"]]

    assert guard(body, path).parsed.body["tools"] == body["tools"]
    assert guard(body, path, tool_order="canonical").parsed.body["tools"] == body["tools"][::-1]


def test_what_is_not_an_agents_passes_untouched():
    plain = parsed_of({"messages": [{"role": "user", "content": "Hi"}]}, CHAT)
    prompt = parsed_of({"prompt": "Hi", "tools": [1]}, "/v1/completions")
    counted = {"messages": [{"role": "user", "content": "Hi"}], "tools": [{"name": "f"}]}
    count = parsed_of(counted, "/v1/messages/count_tokens")
    agent = parsed_of(DIALECTS[CHAT]([turn(9)]), CHAT)
    for parsed, config in ((plain, AgentConfig()), (prompt, AgentConfig()), (count, AgentConfig()),
                           (agent, None)):  # fmt: skip
        guarded = at_once(guarding(parsed, config, TaskTable(), "", 0))
        assert guarded.parsed is parsed


def test_the_header_is_as_it_is_documented():
    assert ShortenedResults(2, 4100).header == b"shortened; results=2; tokens=4100"

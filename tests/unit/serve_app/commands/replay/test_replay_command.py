"""`pointsman replay` against a deployment."""

import argparse
import json
import shlex
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from fake_deployment import refusal

from evals.replay.history import days_of
from evals.traces.parts import write_traces
from evals.traces.trace import EVALS_ID, Trace
from serve_app.cli import build_parser
from serve_app.commands.client import CommandError
from serve_app.commands.replay import spare
from serve_app.commands.replay.daily import whole_paths

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("find", "refund")
]
CASES = [
    {"id": "f", "messages": [{"role": "user", "content": "find 7"}], "tools": TOOLS,
     "calls": [{"name": "find", "arguments": {"order": 7}}]},
    {"id": "r", "messages": [{"role": "user", "content": "refund 7"}], "tools": TOOLS,
     "calls": [{"name": "refund", "arguments": {"order": 7}}]},
    {"id": "c", "messages": [{"role": "user", "content": "capital of France?"}],
     "answer": "Paris"},
    {"id": "o", "messages": [{"role": "user", "content": "write a poem"}]},
]  # fmt: skip


def answer(lane, body):
    asked = body["messages"][-1]["content"]
    if lane == "judge":
        return "B"
    if asked.startswith("find"):
        return [("find", '{"order": 7.0}')]
    if asked.startswith("refund"):
        return [("find" if lane == "chat" else "refund", '{"order": 7}')]
    return "Paris" if "capital" in asked else f"a poem of {lane}"


@pytest.fixture
def gold(tmp_path):
    path = tmp_path / "gold.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in CASES))
    return path


@pytest.fixture
def replay(fake, gold, tmp_path, monkeypatch):
    """Run the command on the gold cases; its exit status."""
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(spare, "LOOK_PERIOD_S", 0.01)
    fake.answer = answer

    def run(*words, file=gold) -> int:
        words = ["replay", "--url", fake.url, "--out", str(tmp_path / "out"), *words]
        args = build_parser().parse_args([*words, *(["--gold", str(file)] if file else [])])
        return args.func(args)

    return run


def summary(tmp_path, part="gold") -> dict:
    return json.loads((tmp_path / "out" / part / "summary.json").read_text())


def test_a_lane_is_scored_against_gold_with_a_page(replay, fake, tmp_path, capsys) -> None:
    status = replay("--lane", "chat", "--json")

    told = json.loads(capsys.readouterr().out)["runs"][0]
    assert status == 3
    assert (told["candidate"], told["incumbent"], told["cases"]) == ("chat", "gold", 4)
    assert (told["selection_f1"], told["answers"]) == (0.5, 1.0)
    assert told["tools"]["refund"]["selection_f1"] == 0.0
    page = (tmp_path / "out" / "gold" / "report.html").read_text()
    assert "wrong tool" in page
    assert summary(tmp_path)["call_f1"] == 0.5


def test_requests_are_marked_pinned_greedy_and_in_sessions_of_their_own(replay, fake) -> None:
    replay("--lane", "chat", "--max-tokens", "64")

    assert {x["x-pointsman-background"] for x in fake.headers} == {"1"}
    sessions = {x["x-session-id"] for x in fake.headers}
    assert len(sessions) == 4
    assert all(x.startswith("replay-chat-") for x in sessions)
    assert {(x["model"], x["temperature"], x["max_tokens"]) for x in fake.seen} == {("chat", 0, 64)}
    ids = {x["x-request-id"] for x in fake.headers}
    assert len(ids) == 4 and all(x.startswith(EVALS_ID) for x in ids)


def test_what_no_client_asked_for_is_not_replayed(replay, fake, tmp_path) -> None:
    """Own requests are kept as well, where the tenant of the key has its traces kept."""
    one = Trace(
        time=datetime(2026, 11, 29, tzinfo=UTC), request_id="r1", tenant="a", tier="paid",
        api="/v1/chat/completions", body={"messages": [{"role": "user", "content": "first"}]},
        answer="x", lane="chat", code="200",
    )  # fmt: skip
    own, shadow = replace(one, request_id=f"{EVALS_ID}1"), replace(one, reason="shadow")
    others = [
        replace(x, body={"messages": [{"role": "user", "content": "no"}]}) for x in (own, shadow)
    ]
    path = tmp_path / "traces.parquet"
    write_traces(path, [one, *others])

    replay("--lane", "chat", "--traces", str(path), file=None)

    assert [x["messages"][-1]["content"] for x in fake.seen] == ["first"]


def test_a_run_goes_on_where_it_ended(replay, fake, tmp_path) -> None:
    """What was answered is not asked again; what failed is."""
    fake.answer = lambda lane, body: (
        refusal(500, "broken") if "poem" in body["messages"][-1]["content"] else answer(lane, body)
    )
    assert replay("--lane", "chat") == 4
    assert summary(tmp_path)["unanswered"] == 1

    fake.seen.clear()
    fake.answer = answer
    replay("--lane", "chat")

    assert [x["messages"][-1]["content"] for x in fake.seen] == ["write a poem"]
    assert summary(tmp_path)["unanswered"] == 0


def test_a_request_that_the_lane_refuses_is_an_answer_without_calls(replay, fake, tmp_path) -> None:
    """Its window is too small, say: that is the candidate's fault."""
    fake.answer = lambda lane, body: refusal(400, "context_length_exceeded")

    replay("--lane", "chat")

    told = summary(tmp_path)
    assert (told["unanswered"], told["selection_f1"]) == (0, 0.0)


def test_two_lanes_answer_and_a_judge_sees_each_pair_in_both_orders(replay, fake, tmp_path) -> None:
    """A judge that always says B is measured as one that leans."""
    replay("--compare", "quality,chat", "--judge", "judge")

    told = summary(tmp_path)
    assert (told["selection_f1"], told["incumbent_selection_f1"]) == (1.0, 0.5)
    assert told["judge"] == {"pairs": 1, "flips": 1.0, "first": 0.0, "leans": False}
    assert len(fake.bodies("judge")) == 2
    one, other = (x["messages"][1]["content"] for x in fake.bodies("judge"))
    assert one.index("a poem of quality") < one.index("a poem of chat")
    assert other.index("a poem of chat") < other.index("a poem of quality")


def test_a_program_checks_what_no_text_does(replay, tmp_path) -> None:
    program = tmp_path / "check.sh"
    program.write_text("grep -q quality\n")

    replay("--compare", "quality,chat", "--command", f"sh {program}")

    gate = summary(tmp_path)["gates"]["final answers"]
    assert (gate["cases"], gate["candidate"]) == (4, pytest.approx(1.0))


def test_a_full_lane_is_waited_for(replay, fake) -> None:
    """Ten looks find requests waiting; only then is anything asked."""
    busy = {"running": 9, "queue": 1, "kv_utilization": 0.2}
    desk = {"slots": 16, "used": 9, "waiting": {}}
    seen_at_end = []

    def status():
        if fake.looks == 10:
            seen_at_end.append(len(fake.seen))
        row = busy | ({"queue": 0, "running": 0} if fake.looks > 10 else {})
        used = desk | ({"used": 0} if fake.looks > 10 else {})
        return {"lanes": {"chat": row}, "ingress": [{"admission": {"chat": used}}], "slo": []}

    fake.status = status
    replay("--lane", "chat")

    assert seen_at_end == [0]
    assert len(fake.seen) == 4


def test_a_key_that_sees_no_lanes_sends_one_at_a_time(replay, fake) -> None:
    fake.status = {"tenant": "replay", "tier": "replay"}
    fake.hold_s = 0.02

    replay("--lane", "chat")

    assert (len(fake.seen), fake.most_open) == (4, 1)


def test_a_daily_run_goes_into_the_history_once_it_is_whole(replay, fake, tmp_path) -> None:
    path = tmp_path / "state" / "replay_history.jsonl"
    fake.answer = lambda lane, body: refusal(500, "broken")
    replay("--lane", "chat", "--daily")
    assert not path.exists()

    fake.answer = answer
    replay("--lane", "chat", "--daily")

    (day,) = days_of(path.read_text().splitlines())
    assert (day.lane, day.against, day.selection_f1, day.calls_wanted) == ("chat", "gold", 0.5, 2)
    assert path.stat().st_mode & 0o077 == 0


def test_the_gate_fails_a_lane_that_is_surely_worse(replay, tmp_path) -> None:
    many = tmp_path / "many.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": f"refund {n}"}], "calls": [{"name": "refund"}]}
        for n in range(30)
    ]
    many.write_text("".join(json.dumps(row) + "\n" for row in rows))

    assert replay("--lane", "chat", file=many) == 1


def test_cases_that_say_nothing_of_what_is_right_are_not_gated_and_it_is_said(
    replay, tmp_path, capsys
) -> None:
    path = tmp_path / "open.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "write a poem"}]}\n')

    assert replay("--compare", "quality,chat", file=path) == 3
    assert "no case says what is right; --judge LANE" in capsys.readouterr().out


def test_a_gold_file_that_is_wrong_is_told_with_its_line(replay, tmp_path) -> None:
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"messages": [{"role": "user", "content": "x"}], "calls": [{}]}\n')

    with pytest.raises(CommandError, match=r"wrong.jsonl:1: each call needs a 'name'"):
        replay("--lane", "chat", file=wrong)


def test_the_prompt_is_in_no_message(replay, fake, capsys) -> None:
    fake.answer = lambda lane, body: refusal(500, "broken")

    replay("--lane", "chat")

    told = capsys.readouterr()
    assert "capital" not in told.out + told.err
    assert "secret plans" not in told.out + told.err


def test_no_cases_are_a_usage_error(replay, tmp_path, capsys) -> None:
    empty = tmp_path / "traces"
    empty.mkdir()

    assert replay("--lane", "chat", "--traces", str(empty), file=None) == 2
    assert "no cases" in capsys.readouterr().err


def test_the_job_of_a_cluster_is_printed_with_the_same_options(
    capsys, monkeypatch, tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["replay", "--lane", "agent", "--gold", "a b.jsonl", "--daily", "--print-job"]
    monkeypatch.setattr("sys.argv", ["pointsman", *words])
    monkeypatch.setenv("POINTSMAN_STATE", "/var/state")

    args = build_parser().parse_args(words)
    args.func(args)

    told = capsys.readouterr().out
    assert told.startswith("pointsman run -- ray job submit --address http://127.0.0.1:8265 ")
    *_, shell, option, script = shlex.split(told)
    assert (shell, option) == ("sh", "-c")
    assert script.startswith("env POINTSMAN_STATE=/var/state ")
    end = f"replay --lane agent --gold '{tmp_path}/a b.jsonl' --daily || [ $? -eq 3 ]"
    assert script.endswith(end)


def test_a_job_is_told_whole_paths(tmp_path) -> None:
    """It begins in a directory of Ray's."""
    (tmp_path / "mine.yaml").touch()
    words = ["--gold=a.jsonl", "--go", "b.jsonl", "--lane", "gold", "--out", "/x/y", "--daily"]

    assert whole_paths([*words, "--fleet", "local", "--of-fleet", "mine.yaml"], tmp_path) == [
        f"--gold={tmp_path}/a.jsonl",
        *("--go", f"{tmp_path}/b.jsonl", "--lane", "gold", "--out", "/x/y", "--daily"),
        *("--fleet", "local", "--of-fleet", f"{tmp_path}/mine.yaml"),
    ]


def test_it_needs_to_be_said_what_is_replayed() -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["replay"])
    assert isinstance(build_parser(), argparse.ArgumentParser)

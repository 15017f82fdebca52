"""`pointsman simulate` and the load generator, against simulated engines."""

from __future__ import annotations

import json
import math
from random import Random

import pytest
import yaml

from serve_app.cli import main
from simulator.client.load import Target, run_load
from simulator.model.profile import FixedTiming, Profile
from simulator.virtual_time.report import Slo, Turn, by_turn, quantile, summary
from simulator.virtual_time.virtual import run
from simulator.virtual_time.workload import Workload, load_workload, sessions
from tests.unit.simulator.test_http import CARD, running

SMALL = Workload.model_validate(
    {
        "name": "small",
        "source": "for tests",
        "tenants": 2,
        "system_tokens": 40,
        "turns": 2,
        "think_s": 0,
        "tools": 1,
        "stages": [
            {"name": "ask", "input": {"mean": 10}, "output": {"mean": 5}},
            {"name": "calls", "requests": 2, "input": {"mean": 5}, "output": {"mean": 3}},
        ],
        "complex_share": 0.5,
    }
)


@pytest.fixture
def engine_url():
    """A quick engine on a port."""
    yield from running(FixedTiming(ttft_s=0.001, itl_s=0.001))


@pytest.fixture
def small_file(tmp_path):
    """The small workload as a file."""
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL.model_dump()))
    return str(path)


def test_run_reports_the_slo_and_every_turn(capsys) -> None:
    code = main(["simulate", "run", "--profile", "llama-3.1-8b-fp8-rtx4090", "--active", "4",
                 "--minutes", "5", "--json"])  # fmt: skip
    report = json.loads(capsys.readouterr().out)
    assert code == 0 and report["simulated"] is True
    assert report["errors"] == 0 and report["slo"]["kept"] in (True, False)
    assert [row["turn"] for row in report["by_turn"]][:3] == [1, 2, 3]


def test_run_in_words(capsys) -> None:
    assert main(["simulate", "run", "--profile", "phi-3-mini-fp8-rtx4090", "--workload", "agents",
                 "--sessions-per-s", "0.1", "--minutes", "5"]) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert "turns within all bounds" in out and "ttft_p95_ms" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "nothing", "--active", "1"], "no profile 'nothing' (shipped:"),
        (["--profile", "phi-3-mini-fp8-rtx4090"], "either --active"),
        (["--profile", "phi-3-mini-fp8-rtx4090", "--active", "1", "--minutes", "0.001"],
         "no request ended"),
        (["--profile", "phi-3-mini-fp8-rtx4090", "--active", "1", "--workload", "x"],
         "no workload 'x'"),
    ],
)  # fmt: skip
def test_run_says_what_is_wrong(capsys, options, message) -> None:
    assert main(["simulate", "run", *options]) == 1
    assert message in capsys.readouterr().err


def test_a_profile_with_a_wrong_key_is_explained(capsys, tmp_path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(CARD.model_dump() | {"unknown_key": "x"}))
    assert main(["simulate", "run", "--profile", str(path), "--active", "1"]) == 1
    assert "unknown_key" in capsys.readouterr().err


def test_load_reports_what_came_back(capsys, engine_url, small_file) -> None:
    code = main(["simulate", "load", "--url", engine_url, "--model", "m", "--workload", small_file,
                 "--active", "3", "--seconds", "1", "--json"])  # fmt: skip
    report = json.loads(capsys.readouterr().out)
    assert code == 0 and report["errors"] == 0 and report["errors_by_code"] == {}
    assert report["requests"] > 5 and report["lanes"] == {"unnamed": report["requests"]}


def test_fit_writes_a_profile_that_can_be_run(capsys, engine_url, tmp_path) -> None:
    out = tmp_path / "fitted.yaml"
    assert main(["simulate", "fit", "--url", engine_url, "--model", "m", "--name", "fitted",
                 "--out", str(out), "--num-gpu-blocks", "500", "--max-batch", "2",
                 "--max-prompt", "64", "--json"]) == 0  # fmt: skip
    assert Profile.model_validate(yaml.safe_load(out.read_text())).name == "fitted"
    assert json.loads(capsys.readouterr().out)["out"] == str(out)


def test_fit_says_that_nobody_answers(capsys, tmp_path) -> None:
    assert main(["simulate", "fit", "--url", "http://127.0.0.1:9", "--model", "m", "--name", "x",
                 "--out", str(tmp_path / "x"), "--num-gpu-blocks", "5"]) == 1  # fmt: skip
    assert "could not be measured" in capsys.readouterr().err


async def test_load_carries_answers_keys_and_sessions() -> None:
    """What the engine is asked: history with its own answers, one key a tenant."""
    from aiohttp import web

    asked: list[tuple[dict[str, str], dict]] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append((dict(request.headers), await request.json()))
        number = len(asked)
        if number == 3:
            return web.json_response({"error": {"code": "shed"}}, status=429)
        text = f'data: {{"choices":[{{"delta":{{"content":"answer {number}"}}}}]}}\n\n'
        end = "data: [DONE]\n\n" if number != 4 else 'data: {"error": {"code": "no_replica"}}\n\n'
        headers = {"content-type": "text/event-stream", "x-pointsman-lane": "chat"}
        return web.Response(text=text + end, headers=headers)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    target = Target(f"http://127.0.0.1:{port}", key_of=lambda tenant: f"key-{tenant}")
    single = SMALL.model_copy(update={"stages": SMALL.stages[:1], "turns": 4.0, "think_s": 0.01})
    turns = await run_load(target, single, duration_s=0.5, random=Random(5), active=1)
    await runner.cleanup()

    assert len(asked) > 6
    errors = [turn.error for turn in turns]
    assert errors[2] == "429 shed" and errors[3] == "no_replica" and not errors[0]
    assert {turn.lane for turn in turns} == {"chat", ""}
    by_session: dict[str, list] = {}
    for headers, body in asked:
        by_session.setdefault(headers["x-session-id"], []).append((headers, body))
    longest = max(by_session.values(), key=len)
    assert len({headers["Authorization"] for headers, _ in longest}) == 1
    first, second = longest[0][1]["messages"], longest[1][1]["messages"]
    assert second[: len(first)] == first and second[len(first)]["role"] == "assistant"
    assert first[0]["role"] == "system" and longest[0][1]["tools"]


async def test_load_arrives_in_an_open_loop_too(engine_url) -> None:
    turns = await run_load(
        Target(engine_url, "m"), SMALL, duration_s=1, random=Random(2), sessions_per_s=30
    )
    assert len({turn.begun for turn in turns}) > 10 and not any(turn.error for turn in turns)
    with pytest.raises(ValueError, match="either"):
        await run_load(Target(engine_url, "m"), SMALL, duration_s=1, random=Random(2))


def test_virtual_stages_share_history_and_differ_after_it() -> None:
    result = run(CARD, SMALL, duration_s=30, random=Random(1), active=2, skip_s=0)
    stages = {turn.stage for turn in result.turns}
    assert stages == {"ask", "calls"}
    calls = [turn for turn in result.turns if turn.stage == "calls"]
    assert any(turn.cached_tokens for turn in calls)


def test_open_loop_arrivals_follow_the_rate() -> None:
    short = SMALL.model_copy(update={"turns": 1.0, "stages": SMALL.stages[:1]})
    result = run(CARD, short, duration_s=2000, random=Random(1), sessions_per_s=0.5, skip_s=0)
    assert 850 < len(result.turns) < 1150
    with pytest.raises(ValueError, match="either"):
        run(CARD, short, duration_s=1, random=Random(1))


def test_the_same_seed_makes_the_same_run() -> None:
    runs = [run(CARD, SMALL, duration_s=20, random=Random(9), active=3).turns for _ in range(2)]
    assert runs[0] == runs[1]


def test_sessions_follow_the_workload() -> None:
    workload = load_workload("saas")
    source = sessions(workload, Random(1))
    drawn = [next(source) for _ in range(3000)]
    turns = [len(session.turns) for session in drawn]
    assert sum(turns) / 3000 == pytest.approx(6.4, rel=0.05)
    inputs = [r.input_tokens for s in drawn for turn in s.turns for stage in turn for r in stage]
    assert sum(inputs) / len(inputs) == pytest.approx(280, rel=0.15)
    assert sum(session.is_complex for session in drawn) / 3000 == pytest.approx(0.03, abs=0.01)
    counts = [sum(s.tenant == tenant for s in drawn) for tenant in range(24)]
    assert counts[0] > counts[5] > counts[23] > 0


def turn(**fields) -> Turn:
    base = {"stage": "turn", "turn": 0, "begun": 0.0, "ttft_s": 0.1, "duration_s": 1.1,
            "prompt_tokens": 10, "cached_tokens": 5, "output_tokens": 11, "first_30_s": 0.5,
            "longest_gap_s": 0.2}  # fmt: skip
    return Turn(**(base | fields))


def test_the_slo_is_judged_at_the_95th_percentile() -> None:
    good = [turn() for _ in range(95)]
    assert Slo().judge([*good, *(turn(ttft_s=2.0) for _ in range(5))])["kept"]
    late = Slo().judge([*good, *(turn(ttft_s=2.0) for _ in range(6))])
    assert not late["kept"] and late["goodput_share"] == pytest.approx(95 / 101)
    failed = Slo().judge([*good, turn(error="503 shed")])
    assert not failed["kept"], "a failed request is not within any bound"


def test_a_client_that_found_all_tokens_at_once_has_no_rate() -> None:
    """A machine with other work to do reads late; that is no division by zero."""
    report = summary([turn(ttft_s=0.3, duration_s=0.3)])

    assert report["itl_p50_ms"] == 0 and math.isnan(report["tokens_per_s_per_user_p50"])


def test_summaries() -> None:
    turns = [turn(), turn(turn=1, ttft_s=0.3), turn(turn=1, error="x")]
    report = summary(turns)
    assert (report["requests"], report["errors"]) == (3, 1)
    assert report["ttft_p50_ms"] == 100 and report["ttft_p99_ms"] == 300
    assert report["itl_p50_ms"] == pytest.approx(80)
    assert report["cached_share"] == 0.5
    assert [row["requests"] for row in by_turn(turns)] == [1, 2]
    assert quantile([3, 1, 2], 0.5) == 2 and quantile([], 0.5) != quantile([], 0.5)

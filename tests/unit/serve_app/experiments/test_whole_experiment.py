"""An experiment in an ingress replica as a deployment makes it: from its fleet file to a report."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import yaml

from benchmarks.support.one_process import SECRET, one_process
from serve_app.cli import main
from serve_app.commands import experiments
from serve_app.experiments import keeping
from serve_app.tenancy.local_key import local_admin_key

FLEET = Path(__file__).parents[3] / "e2e" / "simulated_fleet.yaml"
TENANTS = {
    "tiers": {"small": {}},
    "tenants": {"acme": {"tier": "small"}},
    "local_tenant": "acme",
}
CHAT = {"max_tokens": 3, "messages": [{"role": "user", "content": "Hello"}]}
MODELS = {
    "name": "models",
    "kind": "ab",
    "control": "chat",
    "treatment": "elastic",
    "starts": datetime.now(UTC) - timedelta(days=1),
    "guard": {"answer_p95_s": 60},
}
COPIES = {**MODELS, "name": "copies", "kind": "shadow", "treatment": "spare", "share": 0.999}
del COPIES["guard"]


@contextlib.asynccontextmanager
async def deployed(folder, *listed):
    """Its operator's client, who is the local tenant."""
    fleet, tenants = folder / "fleet.yaml", folder / "tenants.yaml"
    text = {**yaml.safe_load(FLEET.read_text()), "experiments": list(listed)}
    text["lanes"]["spare"] = {**text["lanes"]["chat"], "model_id": "simulated-spare"}
    fleet.write_text(yaml.safe_dump(text))
    tenants.write_text(yaml.safe_dump(TENANTS))
    async with one_process(fleet, tenants, folder / "state") as made:
        transport = httpx.ASGITransport(made.app, client=("127.0.0.1", 1))
        headers = {"authorization": f"Bearer {local_admin_key(SECRET)}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers
        ) as client:
            yield client


async def told(client, name, holds):
    """Its row of /status, once it is as wanted; rounds come by themselves."""
    async with asyncio.timeout(30):
        while True:
            rows = (await client.get("/status")).json()["experiments"]
            row = next(x for x in rows if x["name"] == name)
            if holds(row):
                return row
            await asyncio.sleep(0.02)


def rated(row):
    """Comparisons that its report has taken in."""
    tests = row["report"]["tests"] if row["report"] else {}
    return tests["preference"]["n"] if tests else 0


async def test_an_experiment_is_divided_rated_told_and_stopped(tmp_path, monkeypatch, capsys):
    """By what a client sees, what users say, and what the command and the page show."""
    monkeypatch.setattr(keeping, "EVERY_S", 0.02)
    async with deployed(tmp_path, MODELS, COPIES) as client:
        by_lane = {}
        for n in range(12):
            headers = {"x-session-id": f"s{n}", "x-request-id": f"r{n}"}
            answer = await client.post("/v1/chat/completions", json=CHAT, headers=headers)
            assert answer.status_code == 200
            by_lane.setdefault(answer.headers["x-pointsman-lane"], []).append(f"r{n}")
        assert set(by_lane) == {"chat", "elastic"}
        for better, worse in zip(by_lane["elastic"], by_lane["chat"], strict=False):
            body = {"request_id": better, "preferred_over": worse}
            assert (await client.post("/v1/feedback", json=body)).status_code == 200

        pairs = min(map(len, by_lane.values()))
        row = await told(client, "models", lambda x: rated(x) == pairs)
        copied = len(by_lane["chat"])
        copies = await told(
            client, "copies", lambda x: sum(x["arms"]["shadow"].get(y, 0) for y in ENDS) == copied
        )

    assert row["report"]["tests"]["preference"]["estimate"] == 1.0
    assert row["arms"]["treatment"]["requests"] == len(by_lane["elastic"])
    assert row["state"] == "running"
    assert copies["arms"]["shadow"]["answered"] > 0
    monkeypatch.setattr(experiments, "request_json", lambda *_, **__: {"experiments": [row]})
    assert main(["experiments", "report", "models"]) == 0
    assert "elastic is preferred in 100.0%" in capsys.readouterr().out


ENDS = ("answered", "failed", "late", "dropped:full", "dropped:at_once")


async def test_a_stop_outlives_its_replica(tmp_path, monkeypatch):
    """No engine keeps a limit of a microsecond: the treatment is stopped, for good."""
    monkeypatch.setattr(keeping, "EVERY_S", 0.02)
    tight = {**MODELS, "share": 0.999, "guard": {"answer_p95_s": 1e-6}}
    async with deployed(tmp_path, tight) as client:
        for n in range(8):
            headers = {"x-session-id": f"s{n}"}
            await client.post("/v1/chat/completions", json=CHAT, headers=headers)
        row = await told(client, "models", lambda x: x["state"] == "stopped")
    assert row["stopped_why"].startswith("answer: ")

    async with deployed(tmp_path, tight) as client:
        answer = await client.post("/v1/chat/completions", json=CHAT)

    assert answer.headers["x-pointsman-lane"] == "chat"


ROW = {
    "name": "models",
    "kind": "ab",
    "control": "chat",
    "treatment": "candidate",
    "share": 0.5,
    "metric": "judge",
    "alpha": 0.05,
    "smallest": 0.05,
    "state": "stopped",
    "stopped_why": "ttft: 16 of 40 requests of a day were bad (40.0%, allowed 5.0%)",
    "stopped_at": 0.0,
    "begins": 0.0,
    "ends": 86_400.0,
    "arms": {"control": {"requests": 3}, "treatment": {}},
    "report": None,
}


SHADOWED = {
    **ROW,
    "name": "copies",
    "kind": "shadow",
    "state": "running",
    "stopped_why": None,
    "since": 1_796_400_000.0,
    "arms": {"shadow": {"answered": 7.0, "dropped:full": 10.0, "duration_mean_s": 0.1}},
}


def run(monkeypatch, capsys, *words, rows=(ROW, SHADOWED)):
    monkeypatch.setattr(experiments, "request_json", lambda *_, **__: {"experiments": list(rows)})
    status = main(["experiments", *words])
    said = capsys.readouterr()
    return status, said.out + said.err


@pytest.mark.parametrize(
    ("words", "says", "status"),
    [
        (["list"], "models               stopped  ab         chat against candidate (50%)", 0),
        (["list"], "stopped 1970-01-01 00:00 UTC: ttft: 16 of 40", 0),
        (["list"], "17 copies: 7 answered, 10 dropped full", 0),
        (["report", "models"], "control    requests 3", 0),
        (["report", "copies"], "as they are since 2026-12-04 16:00 UTC", 0),
        (["report", "model"], "no experiment 'model'; there are: models, copies", 1),
        (["power", "--preference", "0.56"], "883 ratings", 0),
        (["power", "--preference", "0.5"], "not within 10,000 ratings", 0),
        (["power", "--preference", "1.5"], "preference must be between 0 and 1, not 1.5", 1),
        (["power", "--smallest", "2"], "--smallest", 1),
        (["power", "--preference", "0.56", "--per-day", "60"], "8.7 days", 0),
        (["power", "--per-day", "-3"], "--per-day: more than 0", 1),
    ],
)
def test_what_the_command_says(monkeypatch, capsys, words, says, status):
    """Of experiments, and of none."""
    found, said = run(monkeypatch, capsys, *words)

    assert says in said
    assert found == status


def test_the_command_says_that_there_are_none(monkeypatch, capsys):
    """And where they would stand."""
    assert (
        "no experiments: experiments: of the fleet file"
        in run(monkeypatch, capsys, "list", rows=())[1]
    )


def test_a_judge_s_comparisons_are_tested_too(monkeypatch, capsys, tmp_path):
    """Rows as `label` writes them, with the control as the weak lane."""
    path = tmp_path / "judged.jsonl"
    rows = [{"weak": 0.0, "strong": 1.0}] * 60 + [{"weak": 0.5, "strong": 0.5}]
    path.write_text("".join(json.dumps(x) + "\n" for x in rows))

    _, said = run(monkeypatch, capsys, "report", "models", "--judged", str(path), "--json")
    path.write_text("{}\n")
    status, wrong = run(monkeypatch, capsys, "report", "models", "--judged", str(path))

    told_ = json.loads(said)["report"]
    assert told_["verdict"].startswith("candidate is better: candidate is preferred in 100.0%")
    assert (told_["tests"]["judge"]["n"], told_["tests"]["judge"]["ties"]) == (60, 1)
    assert (status, "judged.jsonl:1: no row with" in wrong) == (1, True)

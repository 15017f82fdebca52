"""`pointsman classifier label`: sampling and rows; faults."""

import json

import pytest
from fake_deployment import refusal
from labelling import KEY, PROMPTS, label, out_of, rows_of, summary

from classifier.training.dataset import read_rows
from serve_app.commands.client import CommandError


def test_rows_say_what_train_reads(fake, prompts, capsys) -> None:
    """A row a prompt, with the share of right answers and the models behind the lanes."""
    right = {"6 * 7?": "It is 42.", "Capital of France?": "paris", "B or C?": "(B)"}

    def answer(lane, body):
        if lane == "quality":
            return right[body["messages"][0]["content"]]
        return "It is 42." if body["seed"] == 1 else "no idea"

    fake.answer = answer

    status = label(fake, prompts, samples=4)

    rows = {row.get("id", "none"): row for row in rows_of(out_of(prompts))}
    assert rows["sum"] == {
        "id": "sum",
        "text": "6 * 7?",
        "domain": "maths",
        "source": "label",
        "weak": 0.25,
        "strong": 1.0,
        "weak_model": "small",
        "strong_model": "large",
        "weak_lane": "chat",
        "strong_lane": "quality",
        "samples": 4,
        "check": "exact",
    }
    assert rows[3]["messages"] == PROMPTS[2]["messages"] and "text" not in rows[3]
    assert [(rows[x]["weak"], rows[x]["strong"]) for x in ("none", 3)] == [(0, 1), (0, 1)]
    data = read_rows([out_of(prompts)])
    assert sorted(data.text) == ["6 * 7?", "B or C?", "Capital of France?"]
    assert data.measured.all() and set(data.source) == {"label"}
    said = summary(capsys)
    assert status == 0
    assert (said["labelled"], said["failed"], said["mean_strong"]) == (3, 0, 1.0)


def test_samples_differ_and_a_single_one_is_greedy(fake, prompts) -> None:
    """Seeds count up at the given temperature; one sample has temperature 0."""
    label(fake, prompts, "--temperature", "0.9", "--max-tokens", "77", samples=3)
    several, fake.seen = fake.bodies("chat"), []
    out_of(prompts).unlink()
    label(fake, prompts)

    assert sorted(body["seed"] for body in several) == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert {(body["temperature"], body["max_tokens"]) for body in several} == {(0.9, 77)}
    assert [(body["seed"], body["temperature"]) for body in fake.seen] == [(1, 0.0)] * 6


def test_no_more_requests_at_a_time_than_asked_for(fake, prompts) -> None:
    """`--concurrency` bounds all requests together."""
    fake.hold_s = 0.01

    label(fake, prompts, "--concurrency", "2", samples=3)

    assert len(fake.seen) == 18
    assert fake.most_open == 2


def test_model_ids_stand_for_their_lanes(fake, prompts) -> None:
    """Lanes may be named by model; requests and rows name the lane."""
    assert label(fake, prompts, "--lanes", "small,quality") == 0

    assert {body["model"] for body in fake.seen} == {"chat", "quality"}
    assert {row["weak_lane"] for row in rows_of(out_of(prompts))} == {"chat"}


def test_cut_answers_are_counted(fake, prompts, capsys) -> None:
    """Answers that end at `--max-tokens` show in the summary."""
    fake.answer = lambda lane, body: fake.said(
        lane, "It is", "length" if lane == "chat" else "stop"
    )

    label(fake, prompts, samples=2)

    assert summary(capsys)["cut_answers"] == 6


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda fake: refusal(400, "context_length_exceeded"), "400 context_length_exceeded"),
        (lambda fake: refusal(500, "the prompt was: secret"), "500"),
        (lambda fake: refusal(429, "token_quota", 5000), "429 token_quota"),
        (lambda fake: refusal(302, "moved"), "302 moved"),
        (lambda fake: fake.said("quality", "x"), "another lane answered"),
    ],
)
def test_an_error_skips_its_prompt_and_is_counted(fake, prompts, capsys, made, reason) -> None:
    """The others are labelled; status and code are told, and nothing of the prompt."""

    def answer(lane, body):
        is_hit = lane == "chat" and "France" in body["messages"][0]["content"]
        return made(fake) if is_hit else "x"

    fake.answer = answer

    status = label(fake, prompts)

    printed = capsys.readouterr()
    assert status == 1
    assert json.loads(printed.out)["failures"] == {f"chat: {reason}": 1}
    assert f"skipped {prompts}:2: chat: {reason}" in printed.err
    assert "secret" not in printed.err
    assert [row.get("id") for row in rows_of(out_of(prompts))] in (["sum", 3], [3, "sum"])


def test_a_refused_key_ends_the_run(fake, prompts) -> None:
    """401 and 403 would meet every prompt: one message instead of many."""
    fake.answer = lambda lane, body: refusal(403, "model_not_allowed")

    with pytest.raises(CommandError, match="403 model_not_allowed"):
        label(fake, prompts)


def test_the_key_is_sent_and_never_shown(fake, prompts, tmp_path, capsys, monkeypatch) -> None:
    """Not in rows, not in messages, not in errors, and not on the command line."""
    monkeypatch.setenv("MY_KEY", KEY)
    asked = ["--key-env", "MY_KEY", "--out", str(tmp_path / "rows.jsonl")]

    label(fake, prompts, *asked)
    fake.answer = lambda lane, body: refusal(500, KEY)
    label(fake, prompts, "--key-env", "MY_KEY", "--out", str(tmp_path / "none.jsonl"))
    fake.answer = lambda lane, body: refusal(401, KEY)
    with pytest.raises(CommandError) as raised:
        label(fake, prompts, "--key-env", "MY_KEY", "--out", str(tmp_path / "none.jsonl"))
    monkeypatch.setenv("MY_KEY", f"{KEY}\nx")
    assert label(fake, prompts, *asked) == 2

    assert {headers["authorization"] for headers in fake.headers} == {f"Bearer {KEY}"}
    printed = capsys.readouterr()
    written = (tmp_path / "rows.jsonl").read_text() + (tmp_path / "none.jsonl").read_text()
    assert len(written.splitlines()) == 3
    assert KEY not in written + printed.out + printed.err + str(raised.value)

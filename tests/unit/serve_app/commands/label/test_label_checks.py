"""Answers checked by a program and by a judge."""

import json

import pytest
from labelling import KEY, PROMPTS, is_gone, label, out_of, program, rows_of, summary, write

from evals.replay import judging
from serve_app.commands.label import checks as label_checks


def test_a_command_passes_or_fails_each_answer(fake, prompts, tmp_path) -> None:
    """It reads prompt, answer and lane; 0 is a pass and 1 a fail."""
    fake.answer = lambda lane, body: f"{lane} {body['seed']}"
    seen = tmp_path / "seen"
    check = program(
        tmp_path / "check.py",
        f"open({str(seen)!r}, 'a').write(json.dumps(given) + '\\n')\n"
        "sys.exit(0 if given['lane'] == 'quality' or given['answer'].endswith('2') else 1)",
    )

    status = label(fake, prompts, "--check", "command", "--command", check, samples=2)

    rows = rows_of(out_of(prompts))
    assert status == 0
    assert {(row["weak"], row["strong"], row["check"]) for row in rows} == {(0.5, 1.0, "command")}
    given = rows_of(seen)
    assert len(given) == 12
    assert {"prompt": PROMPTS[0], "answer": "chat 1", "lane": "chat"} in given


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("sys.exit(3)", "command: exit status 3"),
        ("raise ValueError", None),
        ("import os; os.kill(os.getpid(), 9)", "command: exit status -9"),
    ],
)
def test_a_command_that_breaks_skips_the_prompt(
    fake, prompts, tmp_path, capsys, source, reason
) -> None:
    """Any other exit status is an error; an exception in Python, alas, is 1: a fail."""
    check = program(tmp_path / "check.py", source)

    status = label(fake, prompts, "--check", "command", "--command", check)

    said = summary(capsys)
    if reason is None:
        assert (status, said["mean_strong"]) == (0, 0.0)
        return
    assert (status, said["failed"], said["failures"]) == (1, 3, {reason: 3})
    assert rows_of(out_of(prompts)) == []


def test_a_command_has_a_time_limit(fake, tmp_path, capsys, monkeypatch) -> None:
    """A program that does not end is killed with all it started, and the prompt skipped."""
    monkeypatch.setattr(label_checks, "COMMAND_TIMEOUT_S", 0.5)
    prompts = write(tmp_path / "one.jsonl", [{"text": "x"}])
    pid = tmp_path / "pid"
    script = tmp_path / "check.sh"
    script.write_text(f"sleep 60 & echo $! > '{pid}'; wait\n")

    status = label(fake, prompts, "--command", f"sh {script}")

    assert (status, summary(capsys)["failures"]) == (1, {"command: no end within 0.5 s": 1})
    assert is_gone(int(pid.read_text()))


def test_a_command_is_no_shell_and_does_not_see_the_key(
    fake, prompts, tmp_path, monkeypatch
) -> None:
    """Words are split and passed on as they are; the key's variable is taken away."""
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("OTHER", "seen")
    seen = tmp_path / "seen"
    check = program(
        tmp_path / "check.py",
        f"import os; open({str(seen)!r}, 'w').write(json.dumps([sys.argv[1:], dict(os.environ)]))",
    )

    label(fake, prompts, "--key-env", "MY_KEY", "--check", "command", "--command",
          check + " 'a b' ; $OTHER")  # fmt: skip

    arguments, environment = json.loads(seen.read_text())
    assert arguments == ["a b", ";", "$OTHER"]
    assert environment["OTHER"] == "seen" and "MY_KEY" not in environment
    assert KEY not in seen.read_text()


def judged(fake, choose) -> None:
    """Lanes answer with their names; `choose(case)` is the judge's reply."""

    def answer(lane, body):
        return choose(body["messages"][-1]["content"]) if lane == "judge" else f"I am {lane}"

    fake.answer = answer


def strong_is_first(case) -> bool:
    return case.index("I am quality") < case.index("I am chat")


def test_a_judge_prefers_by_content_on_either_side(fake, prompts, capsys) -> None:
    """A judge that knows the better answer finds it as A and as B."""
    judged(fake, lambda case: "Thus\n\n**A**\n" if strong_is_first(case) else "Thus\nverdict: b.")

    assert label(fake, prompts, "--check", "judge", "--judge", "referee", samples=4) == 0

    rows = rows_of(out_of(prompts))
    assert {(row["weak"], row["strong"]) for row in rows} == {(0.0, 1.0)}
    assert {(row["check"], row["judge_model"]) for row in rows} == {("judge", "referee")}
    cases = [body["messages"][-1]["content"] for body in fake.bodies("judge")]
    assert [strong_is_first(case) for case in cases].count(True) == 6
    assert all("6 * 7?" in case or "B or C?" in case or "France" in case for case in cases)
    assert {body["temperature"] for body in fake.bodies("judge")} == {0.0}


def test_a_judge_that_always_says_a_prefers_nobody(fake, prompts) -> None:
    """Swapped sides cancel a bias for the first answer."""
    judged(fake, lambda case: "A")

    label(fake, prompts, "--check", "judge", "--judge", "judge", samples=2)

    assert {(r["weak"], r["strong"]) for r in rows_of(out_of(prompts))} == {(0.5, 0.5)}


def test_single_comparisons_lean_to_no_side(fake, tmp_path) -> None:
    """With one sample the sides are drawn by prompt."""
    prompts = write(tmp_path / "many.jsonl", [{"text": f"question {n}"} for n in range(40)])
    judged(fake, lambda case: "A")

    label(fake, prompts, "--judge", "judge")

    preferred = [row["strong"] for row in rows_of(out_of(prompts))]
    assert 10 < sum(preferred) < 30 and set(preferred) == {0.0, 1.0}


def test_a_tie_is_half_a_preference(fake, prompts) -> None:
    """TIE and A in turn."""
    judged(fake, lambda case: "A" if strong_is_first(case) else "TIE")

    label(fake, prompts, "--check", "judge", "--judge", "judge", samples=2)

    assert {(r["weak"], r["strong"]) for r in rows_of(out_of(prompts))} == {(0.25, 0.75)}


def test_a_judge_without_a_verdict_skips_the_prompt(fake, prompts, capsys) -> None:
    """Only the last line counts, and it has to be a verdict."""
    judged(fake, lambda case: "A\nor perhaps not")

    status = label(fake, prompts, "--check", "judge", "--judge", "judge")

    reason = "judge 'judge': no verdict in the last line"
    assert (status, summary(capsys)["failures"]) == (1, {reason: 3})


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("A", "A"), ("b\n", "B"), ("because\n[[TIE]]\n\n", "TIE"), ("Verdict: A", "A"),
        ("Final verdict: **tie**.", "TIE"), ("", None), ("Answer A is better", None),
        ("A or B", None), ("A\n\nC", None), ("AB", None),
    ],
)  # fmt: skip
def test_verdicts(reply, verdict) -> None:
    """One word on the last line, whatever it is dressed in."""
    assert judging.verdict(reply) == verdict

"""Files, options and names that cannot be used."""

import pytest
from labelling import label, out_of, program, rows_of, summary, write

from serve_app.commands.client import CommandError


def test_prompts_with_an_answer_are_compared_unless_told_otherwise(fake, tmp_path, capsys) -> None:
    """The default check goes by prompt: exact where there is an answer, else the command."""
    prompts = write(tmp_path / "both.jsonl", [{"text": "a", "answer": "x"}, {"text": "b"}])
    check = program(tmp_path / "check.py", "sys.exit(0)")

    assert label(fake, prompts, "--command", check) == 0

    assert {r["text"]: (r["check"], r["strong"]) for r in rows_of(out_of(prompts))} == {
        "a": ("exact", 0.0),
        "b": ("command", 1.0),
    }


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("not json", "not JSON"),
        ("[1]", "object"),
        ('{"id": 1}', "'text'"),
        ('{"text": "  ", "answer": 1}', "'text'"),
        ('{"text": 5, "answer": 1}', "'text'"),
        ('{"messages": "hi", "answer": 1}', "'messages'"),
        ('{"messages": [{"content": "x"}], "answer": 1}', "'role'"),
        ('{"messages": [{"role": "system", "content": "x"}], "answer": 1}', "user"),
        ('{"text": "x", "answer": 1, "id": 1.5}', "'id'"),
        ('{"text": "x", "answer": 1, "domain": 5}', "'domain'"),
        ('{"text": "x", "answer": 1, "tools": [{}]}', "'tools'"),
        ('{"text": "x", "answer": ""}', "an answer"),
        ('{"text": "x", "answer": true}', "an answer"),
        ('{"text": "x", "answer": null}', "an answer"),
        ('{"text": "x", "answers": []}', "'answers'"),
        ('{"text": "x", "answers": "y"}', "'answers'"),
        ('{"text": "x", "answer": 1, "answers": [1]}', "not both"),
        ('{"text": "x"}', "no 'answer'"),
        ('{"id": "sum", "text": "another", "answer": 1}', "another prompt"),
    ],
)
def test_a_bad_line_stops_the_run_before_anything_is_sent(
    fake, prompts, capsys, line, fault
) -> None:
    """Exit status 2, with file and line."""
    with prompts.open("a") as file:
        file.write(f"\n{line}\n")

    status = label(fake, prompts)

    message = capsys.readouterr().err
    assert status == 2
    assert f"{prompts}:5: " in message and fault in message
    assert fake.seen == [] and not out_of(prompts).exists()


def test_a_text_that_comes_twice_is_labelled_once(fake, tmp_path, capsys) -> None:
    """Without ids the text tells prompts apart; with ids the id does."""
    rows = [{"text": "a", "answer": 1}] * 2 + [{"text": "a", "answer": 1, "id": n} for n in (1, 2)]

    label(fake, write(tmp_path / "twice.jsonl", rows))

    assert summary(capsys)["prompts"] == 3


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--check", "command"], "--command CMD"),
        (["--check", "judge"], "--judge LANE"),
        (["--command", "true", "--judge", "judge"], "--check"),
        (["--check", "command", "--command", "no-such-program-here"], "no-such-program-here"),
        (["--check", "command", "--command", "'"], "--command"),
        (["--samples", "2", "--temperature", "0"], "--samples 1"),
        (["--key-env", "NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE"),
        (["--lanes", "chat,small"], "both names"),
        (["--prompts", "/no/such/file"], "/no/such/file"),
        (["--out", "/no/such/folder/file"], "cannot be written"),
        (["--out", "rows.jsonl.gz"], ".gz"),
    ],
)
def test_options_that_cannot_be_used(fake, prompts, capsys, options, fault) -> None:
    """Exit status 2 and a sentence, before anything is sent."""
    assert label(fake, prompts, *options) == 2

    assert fault in capsys.readouterr().err
    assert fake.seen == []


@pytest.mark.parametrize(
    "options",
    [
        ["--lanes", "chat"], ["--lanes", "chat,chat"], ["--lanes", "a,b,c"], ["--samples", "0"],
        ["--temperature", "-1"], ["--temperature", "nan"], ["--concurrency", "0"],
    ],
)  # fmt: skip
def test_values_that_make_no_sense(fake, prompts, options) -> None:
    """Argparse's own exit status 2."""
    with pytest.raises(SystemExit) as raised:
        label(fake, prompts, *options)

    assert raised.value.code == 2


def test_the_output_is_not_the_input(fake, prompts, capsys) -> None:
    """Rows are not appended to the prompts."""
    before = prompts.read_bytes()

    assert label(fake, prompts, "--out", str(prompts)) == 2
    assert prompts.read_bytes() == before


def test_an_unknown_lane_is_named_with_the_nearest(fake, prompts) -> None:
    """Before anything is sent; the judge's lane too."""
    with pytest.raises(CommandError, match=r"'qualty'.*did you mean 'quality'"):
        label(fake, prompts, "--lanes", "chat,qualty")
    with pytest.raises(CommandError, match=r"'jugde'.*did you mean 'judge'"):
        label(fake, prompts, "--judge", "jugde")
    with pytest.raises(CommandError, match="'auto'"):
        label(fake, prompts, "--lanes", "auto,quality")

    assert fake.seen == [] and not out_of(prompts).exists()


def test_nothing_listens(fake, prompts) -> None:
    """A clear sentence instead of a traceback."""
    fake.url = "http://127.0.0.1:9"

    with pytest.raises(CommandError, match="is it running"):
        label(fake, prompts)

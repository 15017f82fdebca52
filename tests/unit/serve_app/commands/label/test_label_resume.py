"""A run that was interrupted, and the next one."""

import argparse
import fcntl
import os
import signal

import pytest
from labelling import is_gone, label, out_of, program, rows_of, summary, write

from serve_app.commands.label.command import add_label


def test_a_second_run_does_what_is_missing(fake, prompts, capsys) -> None:
    """Prompts whose rows exist are not sent again, by id or by text."""
    label(fake, prompts, "--source", "mine")
    lines = out_of(prompts).read_text().splitlines(keepends=True)
    without_france = [line for line in lines if "France" not in line]
    out_of(prompts).write_text("".join(without_france))
    fake.seen.clear()
    capsys.readouterr()

    assert label(fake, prompts, "--source", "mine") == 0
    second = summary(capsys)
    assert label(fake, prompts) == 0

    third = summary(capsys)
    assert [body["messages"][0]["content"] for body in fake.seen] == ["Capital of France?"] * 2
    assert (second["labelled"], second["labelled_before"]) == (1, 2)
    assert (third["labelled"], third["labelled_before"], third["mean_weak"]) == (0, 3, None)
    assert sorted(out_of(prompts).read_text().splitlines(keepends=True)) == sorted(lines)


@pytest.mark.parametrize("tail", ['{"id": "sum", "te', '{"text"'])
def test_a_row_that_was_cut_is_done_again(fake, prompts, tail) -> None:
    """A torn last line goes; what stands before it stays."""
    label(fake, prompts)
    whole = out_of(prompts).read_text()
    kept = [line for line in whole.splitlines(keepends=True) if '"sum"' not in line]
    out_of(prompts).write_text("".join(kept) + tail)

    assert label(fake, prompts) == 0

    assert sorted(out_of(prompts).read_text()) == sorted(whole)
    assert len(rows_of(out_of(prompts))) == 3


def test_a_last_row_without_its_newline_counts(fake, prompts, capsys) -> None:
    """An editor may have dropped it."""
    label(fake, prompts)
    out_of(prompts).write_text(out_of(prompts).read_text().rstrip("\n"))
    capsys.readouterr()

    label(fake, prompts)

    assert summary(capsys)["labelled_before"] == 3
    assert len(rows_of(out_of(prompts))) == 3


@pytest.mark.parametrize(
    ("options", "samples", "name"),
    [([], 2, "samples"), (["--lanes", "quality,chat"], 1, "weak_lane")],
)
def test_rows_of_other_runs_are_not_mixed(fake, prompts, capsys, options, samples, name) -> None:
    """Other lanes or another number of samples need another file."""
    label(fake, prompts)
    before = out_of(prompts).read_bytes()

    assert label(fake, prompts, *options, samples=samples) == 2

    assert f"{out_of(prompts)}:1: '{name}'" in capsys.readouterr().err
    assert out_of(prompts).read_bytes() == before


def test_two_runs_do_not_write_to_one_file(fake, prompts, capsys) -> None:
    """The second one leaves."""
    with out_of(prompts).open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        assert label(fake, prompts) == 2

    assert "another run" in capsys.readouterr().err


def test_ctrl_c_leaves_a_valid_file_and_the_rest_for_later(fake, tmp_path, capsys) -> None:
    """Exit status 130; the next run goes on."""
    rows = [{"text": f"question {n}", "answer": 1} for n in range(20)]
    prompts = write(tmp_path / "many.jsonl", rows)

    pressed = []

    def answer(lane, body):
        if len(fake.seen) > 20 and not pressed:
            pressed.append("Ctrl-C")
            os.kill(os.getpid(), signal.SIGINT)
        return "1"

    fake.answer = answer
    status = label(fake, prompts, "--concurrency", "2")
    done = len(rows_of(out_of(prompts)))
    message = capsys.readouterr().err
    assert label(fake, prompts) == 0

    assert status == 130
    assert "run it again" in message
    assert 5 <= done < 20
    assert sorted(row["text"] for row in rows_of(out_of(prompts))) == sorted(
        row["text"] for row in rows
    )


def test_ctrl_c_ends_a_checking_program(fake, tmp_path) -> None:
    """It has a process group of its own, so the terminal does not end it."""
    prompts = write(tmp_path / "one.jsonl", [{"text": "x"}])
    pid = tmp_path / "pid"
    check = program(
        tmp_path / "check.py",
        f"import os, signal, time; open({str(pid)!r}, 'w').write(str(os.getpid()))\n"
        "os.kill(os.getppid(), signal.SIGINT); time.sleep(60)",
    )

    assert label(fake, prompts, "--command", check, "--concurrency", "1") == 130

    assert is_gone(int(pid.read_text()))


def test_the_help_has_an_example(capsys) -> None:
    """As every subcommand's."""
    parser = argparse.ArgumentParser()
    add_label(parser.add_subparsers())

    with pytest.raises(SystemExit):
        parser.parse_args(["label", "--help"])

    assert "example: pointsman classifier label" in capsys.readouterr().out

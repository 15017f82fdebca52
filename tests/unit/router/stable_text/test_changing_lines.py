"""Lines, sentences and states that may come and go, and texts that take no time."""

import time

import pytest

from router.stable_text.calendar_words import mask_calendar
from router.stable_text.stable_text import MAX_CHARS, MAX_MASKED_CHARS, own_words, stable_text


@pytest.mark.parametrize(
    "line",
    [
        "Current time: 10:04:33 AM (Europe/Berlin, UTC+1:00)",
        "Today's date: 2026-11-29",
        "Today\u2019s date is Sunday, 29 November 2026.",
        "The current date and time is 2026-11-29 10:04:33 UTC.",
        "**Current Date:** 2026-11-29 (0)",
        "- current_datetime: 2026-11-29T10:04:33",
        "Today is Sunday.",
        "Heute ist Sonntag, 29. November 2026, 10:04 Uhr.",
        "x-anthropic-billing-header: cc_version=2.1; cch=36ee5;",
        "<current_date>2026-11-29</current_date>",
        "gitStatus: clean",
    ],
)
def test_a_line_that_only_tells_the_time_may_come_and_go(line):
    """Its label says nothing else."""
    assert stable_text(f"Be kind.\n{line}\nBe brief.") == "Be kind.\nBe brief."


def test_a_sentence_in_a_long_line_may_come_and_go():
    """Prompts without line breaks are read sentence by sentence."""
    assert stable_text("Be kind. It is 10:04 now. Be brief.") == stable_text("Be kind.\nBe brief.")


STATUS = """\
gitStatus: How things stood at the start; nobody will tell you of changes.
Current branch: {branch}

Main branch (for pull requests): main

Git user: Me

Status:
{changes}

Recent commits:
{commits}

# Next
A good answer is short.
"""


LONG = """\
## Git status
On branch main
Your branch is ahead of 'origin/main' by 3 commits.
  (use "git push" to publish your local commits)

Changes not staged for commit:
\tmodified:   a.py

Untracked files:
\tb.py

no changes added to commit
A good answer is short.
"""


@pytest.mark.parametrize(
    ("changes", "commits", "branch"),
    [
        ("(clean)", "1a2b3c4 One", "main"),
        ("M a.py\n?? notes.txt", "1a2b3c4 One\n5d6e7f8 Two: more", "main"),
        (' M a.py\nR  a.py -> b.py\nA  "a b.py"\n## main...origin/main [ahead 1]', "", "x/y-2"),
    ],
)
def test_the_state_of_a_repository_may_change(changes, commits, branch):
    """And what follows it counts."""
    text = STATUS.format(branch=branch, changes=changes, commits=commits)

    assert stable_text(f"Be kind.\n{text}") == "Be kind.\n# Next\nA good answer is short."


def test_git_s_own_words_are_a_state_too():
    """`git status` without options."""
    assert stable_text(LONG) == "A good answer is short."


def test_the_rest_of_a_very_long_prompt_counts_without_its_digits():
    """It is not read, and two that differ there differ."""
    long = "Be kind. " * (MAX_CHARS // 8)

    assert stable_text(f"{long} at 10:04") == stable_text(f"{long} at 11:30")
    assert stable_text(f"{long} at noon") != stable_text(f"{long} at night")


def test_more_that_may_change_than_is_read_counts_without_its_digits():
    """So that no prompt holds everybody up; the words count, wherever they stand."""
    long = "Row 1 of all. " * (MAX_MASKED_CHARS // 64)

    assert stable_text(f"{long}\nNow 10:04") == stable_text(f"{long}\nNow 11:30")
    assert stable_text(f"{long}\nRow 1 x") != stable_text(f"{long}\nRow 1 y")
    assert stable_text(f"{long}\n12") == stable_text(long)


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("Fix it.", "Fix it."),
        ("  a < b  ", "a < b"),
        ("<system-reminder>It is 10:04.</system-reminder>\nFix it.", "Fix it."),
        (
            "<task>Fix it.</task><environment_details>x</environment_details>",
            "<task>Fix it.</task>",
        ),
        ("# AGENTS.md instructions for /a/b\n\n<INSTRUCTIONS>\nx\n</INSTRUCTIONS>", ""),
        ("# AGENTS.md instructions for /a/b\n<b>", "# AGENTS.md instructions for /a/b\n<b>"),
        ("<system-reminder>never closed", "<system-reminder>never closed"),
        ("<env>a</env>b<env>c</env>d<env>e", "bd<env>e"),
    ],
)
def test_a_user_s_own_words(text, own):
    """Without what agents put beside them; a block that is not closed is the user's."""
    assert own_words(text) == own


HARD = {
    "headers": "x-x-" * 25_000,
    "one number": "1" * 100_000,
    "clocks": "10:04 " * 17_000,
    "marks": "1:" * 50_000,
    "open blocks": "<datetime>" * 10_000,
    "closed blocks": "<datetime>x</datetime>" * 5_000,
    "blanks": "abc. " + " " * 100_000 + "1",
    "sentences": "abc.  " * 16_000,
    "brackets": "1 (" * 33_000,
    "names": "1 (Aa " * 16_000,
    "weekdays": "sunday 1 " * 11_000,
    "blank lines": "\n" * 100_000,
    "git": "git status:\n" + "M a\n" * 25_000,
    "git, blanks": "git status:\n" + " " * 100_000 + "x",
    "git, one path": "git status:\nM " + "a" * 100_000 + " b c",
    "git, titles": "git status " * 9_000,
    "dots": "1.." * 33_000,
    "hex": "ab12" * 25_000,
    "dates in Chinese": "2026年11月29日" * 9_000,
    "halves": "1 p." * 25_000,
    "ages": "1 minute ago " * 8_000,
}


@pytest.mark.parametrize("text", HARD.values(), ids=HARD)
def test_no_text_takes_long(text):
    """100 KB in hundredths of a second; a reading that goes back and forth takes minutes."""
    begun = time.process_time()
    stable_text(text)
    # Nearly all that is read word by word.
    stable_text(text[: MAX_MASKED_CHARS - 100])
    own_words(text)

    assert time.process_time() - begun < 2


def test_a_sentence_without_words_is_left_alone():
    """Nothing to read."""
    assert mask_calendar("--- ***") == "--- ***"


@pytest.mark.parametrize("mark", ["", "<"])
def test_so_many_blanks_around_a_user_s_words_are_looked_at(mark):
    """Blanks of other scripts are slow to look at: 4 MB of them took 30 ms."""
    blanks = "\u00a0\u2028" * (MAX_CHARS // 2)

    assert own_words(f"{blanks}Hello{mark}{blanks}") == f"Hello{mark}"
    assert own_words(f"{blanks} Hello{mark} {blanks}") == f" Hello{mark} "

"""What is left of a prompt without what changes from turn to turn."""

# ruff: noqa: RUF001  # letters of other alphabets are meant

import pytest

from router.stable_text.stable_text import stable_text

# Each kind as programs write it, at two moments.
CHANGING = {
    "iso date": ("Now 2026-11-29.", "Now 2026-12-01."),
    "iso moment": ("x 2026-11-29T10:04:33.123Z y", "x 2026-12-01T00:00:01.9Z y"),
    "iso with offset": ("x 2026-11-29 10:04:33+01:00 y", "x 2027-01-01 23:59:59-08:00 y"),
    "log": ("x 2026-11-29_10-04-33 y", "x 2026-11-30_09-00-00 y"),
    "compact": ("x 20261129T100433Z y", "x 20261130T000000Z y"),
    "iso week": ("x 2026-W48-7 y", "x 2026-W49-1 y"),
    "clock": ("It is 9:59 AM and late.", "It is 10:00 PM and late."),
    "clock, tight": ("at 10:04am, say", "at 11:05pm, say"),
    "hour": ("It is 9 AM here, friend.", "It is 10 p.m. here, friend."),
    "uhr": ("Es ist 10.04 Uhr, Freund.", "Es ist 11.30 Uhr, Freund."),
    "american": ("x 11/29/2026, 10:04:33 AM y", "x 12/1/2026, 1:00:00 PM y"),
    "american, short": ("x 11/29/26 y", "x 12/1/26 y"),
    "german": ("x 29.11.2026, 10:04 y", "x 1.12.2026, 00:00 y"),
    "written": ("x Sunday, 29 November 2026 y", "x Tuesday, 1 December 2026 y"),
    "written, american": ("x November 29th, 2026 y", "x Dec. 1st, 2026 y"),
    "written, german": ("x Sonntag, 29. August 2027 y", "x Dienstag, 1. September 2026 y"),
    "written, french": ("x dimanche 29 novembre 2026 y", "x mardi 1er décembre 2026 y"),
    "weekday and ordinal": ("x Sunday the 29th y", "x Tuesday the 1st y"),
    "month and year": ("x November 2026 y", "x December 2026 y"),
    "year": ("The current year is 2026, so", "The current year is 2027, so"),
    "javascript": (
        "x Sun Nov 29 2026 10:04:33 GMT+0100 (Central European Standard Time) y",
        "x Wed Jul 01 2026 00:00:00 GMT+0200 (Central European Summer Time) y",
    ),
    "mail": ("x Sun, 29 Nov 2026 10:04:33 +0100 y", "x Tue, 01 Dec 2026 00:00:00 +0200 y"),
    "ctime": ("x Sun Nov 29 10:04:33 CET 2026 y", "x Wed Jul  1 00:00:00 CEST 2026 y"),
    "zone": ("x 10:04 (Europe/Berlin, UTC+1:00) y", "x 10:05 (Europe/Berlin, UTC+2:00) y"),
    "chinese": ("x 2026年11月29日星期日 10时04分 y", "x 2026年12月1日星期二 11时30分 y"),
    "date with its weekday's number": ("Date: 2026-11-29 (0) y", "Date: 2026-12-01 (2) y"),
    "unix": ("x 1764410673 y", "x 1764410674 y"),
    "unix, fraction": ("x 1764410673.25 y", "x 1764410674.5 y"),
    "unix, ms": ("x 1764410673123 y", "x 1764410674123 y"),
    "in a field": ("<now>2026-11-29</now>", "<now>2026-12-01</now>"),
    "in json": ('{"now":"2026-11-29T10:04:33Z"}', '{"now":"2026-12-01T00:00:00Z"}'),
    "weekday said to be today's": ("Today is Sunday and", "Today is Monday and"),
    "uuid": (
        "id 550e8400-e29b-41d4-a716-446655440000.",
        "id 123e4567-e89b-12d3-a456-426614174000.",
    ),
    "hash": ("at 1a2b3c4 now", "at 9f8e7d6c5b now"),
    "random": ("req_011CSHoEeqs5C35K2UUqR7Fy", "req_022ABoXxyz9D44L3VVrS8Gz"),
    "files": ("You have 1 file open.", "You have 12 files open."),
    "tokens": ("12,345 / 200K tokens used (6%)", "13,001 / 200K tokens used (7%)"),
    "budget": ("<budget:token_budget>200000</x>", "<budget:token_budget>199000</x>"),
    "marked state": ("tokens_left=200 of it", "tokens_left=100 of it"),
    "ago": ("Edited 2 minutes ago by me", "Edited 3 minutes ago by me"),
    "an age in words": ("Saved a minute ago, friend", "Saved 12 minutes ago, friend"),
    "an age of its own": ("ago 3", "ago 4"),
    "in a long sentence": ("a b " * 99 + "at 10:04:33 y", "a b " * 99 + "at 11:30:00 y"),
    "weekday after a clock": ("It is 10:04 on Sunday, friend.", "It is 9:12 on Monday, friend."),
    "weekday under a label": ("Day of the week: Sunday", "Day of the week: Monday"),
    "weekday, spanish": ("Hoy es domingo, amigo", "Hoy es lunes, amigo"),
    "month": ("The current month is May.", "The current month is June."),
    "year alone": ("It is 2026.", "It is 2027."),
    "part of the day": ("Time of day: morning", "Time of day: evening"),
    "day of the year": ("Day 333 of the year, friend", "Day 334 of the year, friend"),
    "short, under a label": ("Today's date: 29.11.26, friend", "Today's date: 30.11.26, friend"),
    "digits alone": ("On 20261129 it was", "On 20261130 it was"),
    "digits alone, with time": ("x 20261129100433 y", "x 20261130110500 y"),
    "spanish halves": ("x 10:04:33 p. m. y", "x 9:00:00 a. m. y"),
    "narrow blank": ("x 10:04:33\u202fPM y", "x 9:00:00\u202fAM y"),
    "o'clock": ("It's 9 o'clock, friend", "It's 10 o'clock, friend"),
    "japanese": ("今日は2026年11月29日(日)です。", "今日は2026年11月30日(月)です。"),
    "japanese, time": (
        "x 2026年11月29日日曜日 午後10時4分 y",
        "x 2026年12月1日火曜日 午前9時30分 y",
    ),
    "chinese, run together": (
        "今天是2026年11月29日 星期日，你好",
        "今天是2026年11月30日 星期一，你好",
    ),
    "korean": ("오늘은 2026년 11월 29일 일요일입니다.", "오늘은 2026년 11월 30일 월요일입니다."),
    "russian": ("Сегодня воскресенье, 29 ноября 2026 г.", "Сегодня понедельник, 1 декабря 2026 г."),
    "polish": ("x 29 listopada 2026 y", "x 1 grudnia 2026 y"),
    "turkish": ("x 29 Kasım 2026 Pazar y", "x 1 Aralık 2026 Salı y"),
    "messages": ("Messages so far: 3, friend", "Messages so far: 4, friend"),
    "short id under a label": ("Request-ID: req_011CVab1 y", "Request-ID: req_9f2Xk3 y"),
    "a user's request": ("the user's request 1a2b3c4 y", "the user's request 9f8e7d6 y"),
    "turn": ("Turn 3 of this talk", "Turn 4 of this talk"),
    "week": ("In week 48, friend", "In week 49, friend"),
    "header": (
        "x-anthropic-billing-header: cc_version=2.1.37.3a3; cc_entrypoint=cli; cch=36ee5;",
        "x-anthropic-billing-header: cc_version=2.1.37.01c; cc_entrypoint=cli; cch=0aaa9;",
    ),
    "header, run together": (
        "x-anthropic-billing-header: cc_version=2.1; cch=36ee5;You are kind.",
        "x-anthropic-billing-header: cc_version=2.1; cch=0aaa9;You are kind.",
    ),
    "another header": (
        "X-Trace-Context: id=77; span=1;\nBe kind.",
        "X-Trace-Context: id=78; span=2;\nBe kind.",
    ),
    "block": (
        "<environment_details>\na.py\n</environment_details>Be kind.",
        "<environment_details>\nb.py\n</environment_details>Be kind.",
    ),
}


@pytest.mark.parametrize(("one", "other"), CHANGING.values(), ids=CHANGING)
def test_two_moments_leave_one_text(one, other):
    """On a line of its own, and in the middle of a prompt."""
    assert one != other
    assert stable_text(one) == stable_text(other)
    around = "You are kind.\n{}\nAnswer in French."
    assert stable_text(around.format(one)) == stable_text(around.format(other))


# Words and numbers that belong to a prompt: two that differ in them are two prompts.
KEPT = [
    ("Answer in fewer than 4 lines.", "Answer in fewer than 5 lines."),
    ("Use Python 3.11.", "Use Python 3.12."),
    ("Serve customer 1234.", "Serve customer 1235."),
    ("Closed on Mondays.", "Closed on Sundays."),
    ("Closed on Monday.", "Closed on Sunday."),
    ("You may answer.", "You might answer."),
    ("In march, walk.", "In may, walk."),
    ("Work in /tmp/1a2b3c4d/shop.", "Work in /tmp/9a8b7c6d/shop."),
    ("You are model-4-5-20250929.", "You are model-4-6-20260101."),
    ("1. Read first.", "1. Write first."),
    ("Git status is shown by a tool; read it.", "Git status is shown by a tool; skip it."),
    ("Commit your work when it is done.", "Commit nothing."),
    ("Branch: Berlin Mitte", "Branch: Munich West"),
    ("Head: Ms Smith", "Head: Mr Jones"),
    ("Every day is good.", "Every day is bad."),
    ("Today is the day of the shop.", "Today is the day of the farm."),
    ("It is 10:04 in the shop.", "It is 10:04 in the farm."),
    ("facade colours", "palace colours"),
    ("Keep v3 open.", "Keep v4 open."),
    ("Save 29 files on Sunday", "Save 30 files on Sunday"),
    ("Mode: x-ray", "Mode: y-ray"),
    ("<datetime> is a tag.", "<datetime> is a type."),
    ("The room is 1024 wide.", "The room is 2048 wide."),
    ("Call 555 0100.", "Call 555 0199."),
    ("Say hello.", "say hello."),
    ("Account 1234567890", "Account 1934567890"),
    ("User: 550e8400-e29b-41d4-a716-446655440000", "User: 123e4567-e89b-12d3-a456-426614174000"),
    ("customer_id=1a2b3c4d", "customer_id=9f8e7d6c"),
    ("You are agent 7.", "You are agent 8."),
    ("Widget: 12.50 EUR", "Widget: 13.50 EUR"),
    ("Good morning, Ann.", "Good evening, Ann."),
    ("A long time ago.", "A short time ago."),
    ("Use node 18.12.11.", "Use node 18.12.12."),
    ("2026年の店です", "2026年の車です"),
]


@pytest.mark.parametrize(("one", "other"), KEPT)
def test_words_and_plain_numbers_count(one, other):
    """Nothing is taken for a clock that is not one."""
    assert stable_text(one) != stable_text(other)
    around = "Now 2026-11-29T10:04:33Z.\n{}\nBe kind."
    assert stable_text(around.format(one)) != stable_text(around.format(other))

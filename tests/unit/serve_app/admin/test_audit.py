"""The audit trail's files: bounded, private, and whole under several writers."""

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from serve_app.admin import audit
from serve_app.admin.audit import BURST, REFILL_S, AuditLog, RefusalBound, entry_of, merged


def entry(number, **more):
    return {"id": str(number), "at": datetime.now(UTC).isoformat(), "number": number, **more}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "audit"


def test_the_newest_come_first(folder):
    log = AuditLog(folder)
    for number in range(5):
        log.append(entry(number))

    assert [x["number"] for x in log.newest(3)] == [4, 3, 2]
    assert [x["number"] for x in AuditLog(folder).newest(99)] == [4, 3, 2, 1, 0]
    assert AuditLog(folder / "none").newest(9) == []


def test_files_are_their_owner_s_alone(folder):
    AuditLog(folder).append(entry(1))

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(x.stat().st_mode) for x in folder.iterdir()} == {0o600}


def test_bytes_are_bounded_and_the_newest_are_kept(folder):
    log = AuditLog(folder, max_bytes=1000, keep=2)
    for number in range(200):
        log.append(entry(number))

    files = list(folder.glob("audit.jsonl*"))
    numbers = [x["number"] for x in log.newest(999)]
    assert len(files) == 3
    assert sum(x.stat().st_size for x in files) <= 3000
    assert numbers == list(range(199, 199 - len(numbers), -1)) and len(numbers) > 10


def test_a_file_turns_with_age_and_goes_with_it(folder, monkeypatch):
    log = AuditLog(folder)
    old = (datetime.now(UTC) - timedelta(days=audit.TURN_DAYS + 1)).isoformat()
    log.append(entry(1, at=old))
    log.append(entry(2))
    assert (folder / "audit.jsonl.1").exists()

    log.prune(datetime.now(UTC) + timedelta(days=audit.KEEP_DAYS + 1))
    assert log.newest(9) == []


def test_two_writers_tear_no_line(folder):
    logs = [AuditLog(folder, max_bytes=20_000), AuditLog(folder, max_bytes=20_000)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: logs[n % 2].append(entry(n, text="x" * 200)), range(200)))

    lines = [line for x in folder.glob("audit.jsonl*") for line in x.read_bytes().splitlines()]
    assert sorted(orjson.loads(line)["number"] for line in lines) == list(range(200))


def test_a_damaged_line_hides_no_other(folder):
    log = AuditLog(folder)
    log.append(entry(1))
    with (folder / "audit.jsonl").open("ab") as file:
        file.write(b'{"half": \n')
    log.append(entry(2))

    assert [x["number"] for x in log.newest(9)] == [2, 1]


def test_an_entry_is_bounded_and_printable():
    made = entry_of(
        "x",
        "done",
        status=200,
        who={"key": "k"},
        client={"forwarded_for": "\x1b[31m" + "y" * 9999},
        replica="i",
        request_id="r",
        noted={"asked": {f"k{n}": ["v" * 999] * 999 for n in range(999)}},
    )

    assert len(orjson.dumps(made)) < 64 * 64 * 300
    assert "\x1b" not in made["client"]["forwarded_for"]
    assert len(made["client"]["forwarded_for"]) == audit.MAX_TEXT


def test_refusals_are_noted_at_a_bounded_rate_and_counted():
    now = [0.0]
    bound = RefusalBound(lambda: now[0])

    noted = [bound.admit() for _ in range(BURST + 30)]
    now[0] += REFILL_S

    assert noted == [0] * BURST + [None] * 30
    assert bound.admit() == 30
    assert bound.admit() is None


def test_what_two_replicas_read_of_one_file_is_told_once():
    first, second = entry(1, at="2026-01-01"), entry(2, at="2026-01-02")

    assert merged([[second, first], [second]], 9) == [second, first]
    assert merged([[second, first]], 1) == [second]

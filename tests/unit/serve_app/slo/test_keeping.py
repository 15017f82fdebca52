"""Counts that outlive their ingress replica."""

import json
import os
import time

import pytest

from router.slo.objectives import Objective
from serve_app.config.files import wall_s
from serve_app.config.slo import SloConfig
from serve_app.slo import keeping
from serve_app.slo.book import SloBook
from serve_app.slo.keeping import ABANDONED_S, SloKeeper
from serve_app.slo.standing import rows_of

POLICY = SloConfig().policy()
SERIES = (Objective.TTFT, "chat", "paid")


class Replica:
    """An ingress replica's counts and their keeper."""

    def __init__(self, folder, name, good=0, bad=0) -> None:
        self.book = SloBook()
        self.keeper = SloKeeper(self.book, folder, name)
        self.path = folder / f"{name}.json"
        for is_good, count in ((True, good), (False, bad)):
            for _ in range(count):
                now = time.monotonic()
                self.book.history(SERIES, now).note(is_good=is_good, now=now)

    @property
    def counts(self) -> tuple[int, int]:
        rows = rows_of([self.book.export(POLICY)], POLICY)
        return (rows[0]["good"], rows[0]["bad"]) if rows else (0, 0)

    def age(self, by_s=ABANDONED_S + 1) -> None:
        """As if nobody had written to its file for so long."""
        then = wall_s() - by_s
        os.utime(self.path, (then, then))


async def test_a_replica_that_ends_leaves_its_counts_to_the_next(tmp_path):
    """At once, and once."""
    first = Replica(tmp_path, "r1", good=30, bad=2)
    await first.keeper.look()
    first.keeper.close()
    second, third = Replica(tmp_path, "r2", good=1), Replica(tmp_path, "r3")

    await second.keeper.look()
    await third.keeper.look()

    assert (second.counts, third.counts) == ((31, 2), (0, 0))
    assert [x.name for x in tmp_path.iterdir()] == ["r2.json"]


async def test_a_replica_that_was_killed_is_taken_over_when_its_file_rests(tmp_path):
    """A live one writes every minute."""
    killed, other = Replica(tmp_path, "r1", bad=3), Replica(tmp_path, "r2")
    await killed.keeper.look()

    await other.keeper.look()
    assert other.counts == (0, 0)

    killed.age()
    await other.keeper.look()
    await other.keeper.look()
    assert other.counts == (0, 3)


async def test_a_replica_leaves_its_own_file_alone(tmp_path):
    """However long it did not come to write to it."""
    only = Replica(tmp_path, "r1", bad=3)
    await only.keeper.look()
    only.age()

    await only.keeper.look()

    assert only.counts == (0, 3)


async def test_counts_that_were_claimed_and_not_kept_again_are_not_lost(tmp_path, monkeypatch):
    """Whoever claimed them died before it had written."""
    killed, claimer, other = (Replica(tmp_path, f"r{n}", bad=n == 1) for n in (1, 2, 3))
    await killed.keeper.look()
    killed.age()
    monkeypatch.setattr(claimer.keeper, "_keep", lambda series: None)
    await claimer.keeper.look()
    (claimed,) = tmp_path.iterdir()

    await other.keeper.look()
    assert other.counts == (0, 0)

    then = wall_s() - ABANDONED_S - 1
    os.utime(claimed, (then, then))
    await other.keeper.look()
    assert other.counts == (0, 1)


async def test_old_counts_are_as_old_as_they_are(tmp_path):
    """An hour in which nothing ran is an hour."""
    first, second = Replica(tmp_path, "r1", bad=7), Replica(tmp_path, "r2")
    first.keeper.close()
    (left,) = tmp_path.iterdir()
    kept = json.loads(left.read_text())
    kept["at"] -= 2 * 3600
    left.write_text(json.dumps(kept))

    await second.keeper.look()

    windows = second.book.export(POLICY)[0]["windows"]
    assert [windows[x].bad for x in ("5m", "1h", "6h", "3d", "period")] == [0, 0, 7, 7, 7]


@pytest.mark.parametrize("by_s", [-3600, 32 * 86_400])
async def test_a_clock_that_was_set(tmp_path, by_s):
    """Back: the counts are as old as they were. A month on: they are over."""
    first, second = Replica(tmp_path, "r1", bad=7), Replica(tmp_path, "r2")
    first.keeper.close()
    (left,) = tmp_path.iterdir()
    kept = json.loads(left.read_text())
    kept["at"] -= by_s
    left.write_text(json.dumps(kept))

    await second.keeper.look()

    assert second.counts == ((0, 7) if by_s < 0 else (0, 0))
    assert list(tmp_path.glob("*.left")) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"at": "now", "series": []}',
        '{"at": 1e99, "series": 3}',
        '{"at": 9e9, "series": [3, ["ttft"], ["no-such", "a", "b", [], []]]}',
        '{"at": 9e9, "series": [["ttft", "a", "b", [[0, 1]], []]]}',
        '{"at": 9e9, "series": [["ttft", "a", "b", [[0, -1, 5]], [[0, "x", 5]]]]}',
        '{"at": 9e9, "series": [["ttft", "a", "b", 5, {}]]}',
        '{"at": 9e9, "series": [["ttft", "a", "b", [[0, 1, 99999999999999999999]], []]]}',
    ],
)
async def test_a_file_that_holds_no_counts_is_forgotten(tmp_path, text):
    """Somebody edited it, or the disk was full."""
    (tmp_path / "r1.left").write_text(text)
    other = Replica(tmp_path, "r2", good=1)

    await other.keeper.look()

    assert other.counts == (1, 0)
    assert [x.name for x in tmp_path.iterdir()] == ["r2.json"]


async def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    """Memory is bounded."""
    monkeypatch.setattr(keeping, "MAX_BYTES", 10)
    Replica(tmp_path, "r1", bad=7).keeper.close()
    other = Replica(tmp_path, "r2")

    await other.keeper.look()

    assert other.counts == (0, 0)


async def test_without_counts_there_is_no_file(tmp_path):
    """Objectives are off, or nobody has asked for anything yet."""
    only = Replica(tmp_path, "r1")

    await only.keeper.look()
    only.keeper.close()

    assert list(tmp_path.iterdir()) == []


async def test_nothing_is_written_after_the_end(tmp_path):
    """A round that was under way would leave the counts twice."""
    only = Replica(tmp_path, "r1", bad=1)
    only.keeper.close()

    await only.keeper.look()

    assert [x.name for x in tmp_path.iterdir()] == ["r1.left"]
    assert only.counts == (0, 1)


async def test_a_folder_that_cannot_be_written_ends_nothing(tmp_path, caplog):
    """Counting goes on without the file."""
    (tmp_path / "slo").write_text("a file")
    only = Replica(tmp_path / "slo", "r1", bad=1)

    with caplog.at_level("WARNING", "ray.serve"):
        only.keeper.close()

    assert "the counts were not kept" in caplog.text

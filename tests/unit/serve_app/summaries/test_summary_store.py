"""Summaries on disk: shared, bounded for each tenant, gone when they expire."""

import asyncio
import stat
import threading

from router.summaries.keys import result_key
from serve_app.config.summaries import SummaryStoreConfig
from serve_app.summaries.keeping.shelf import Shelf, build_shelf
from serve_app.summaries.keeping.store import DAY_S, FILE_NAME, SummaryStore

NOW = 1_800_000_000.0


def key(number: int) -> bytes:
    return result_key(f"text {number}", 100)


def store(folder, **config) -> SummaryStore:
    return SummaryStore(folder / FILE_NAME, SummaryStoreConfig(**config))


def test_the_first_text_under_a_key_stays(tmp_path):
    """Whoever comes second takes it: the prefix is the same on every ingress replica."""
    one, two = store(tmp_path), store(tmp_path)

    assert one.keep("acme", {key(1): "first"}, NOW) == {key(1): "first"}
    assert two.keep("acme", {key(1): "second", key(2): "other"}, NOW) == {
        key(1): "first",
        key(2): "other",
    }
    assert one.find("acme", [key(1), key(2), key(3)], NOW) == {key(1): "first", key(2): "other"}
    one.close()
    two.close()


def test_a_tenant_finds_nothing_of_anothers(tmp_path):
    made = store(tmp_path)
    made.keep("acme", {key(1): "acme's"}, NOW)

    assert made.find("guest", [key(1)], NOW) == {}
    assert made.keep("guest", {key(1): "guest's"}, NOW) == {key(1): "guest's"}
    assert made.find("acme", [key(1)], NOW) == {key(1): "acme's"}
    made.close()


def test_the_count_and_the_bytes_are_bounded_for_each_tenant(tmp_path):
    made = store(tmp_path, max_count=3, max_bytes=4096)
    made.keep("guest", {key(0): "stays"}, NOW)
    for number in range(5):
        made.keep("acme", {key(number): "x"}, NOW + number)
    found = made.find("acme", [key(n) for n in range(5)], NOW + 5)
    assert set(found) == {key(2), key(3), key(4)}

    made.keep("acme", {key(9): "y" * 4000}, NOW + 6)
    made.keep("acme", {key(8): "é" * 100}, NOW + 7)
    found = made.find("acme", [key(n) for n in range(10)], NOW + 8)
    assert set(found) == {key(8)}
    assert made.find("guest", [key(0)], NOW + 8) == {key(0): "stays"}
    made.close()


def test_what_is_used_stays_and_what_is_not_expires(tmp_path):
    made = store(tmp_path, keep_days=8)
    made.keep("acme", {key(1): "used", key(2): "idle"}, NOW)
    assert made.find("acme", [key(1)], NOW + 7 * DAY_S)

    later = NOW + 9 * DAY_S
    assert made.find("acme", [key(1), key(2)], later) == {key(1): "used"}
    made.sweep(later)
    made.close()

    raw = (tmp_path / FILE_NAME).read_bytes()
    assert b"used" in raw and b"idle" not in raw


def test_a_sweep_makes_no_file_and_a_file_is_its_owners(tmp_path):
    made = store(tmp_path)
    made.sweep(NOW)
    assert not list(tmp_path.iterdir())

    made.keep("acme", {key(1): "text"}, NOW)
    made.close()

    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_many_keys_are_asked_for_at_once(tmp_path):
    made = store(tmp_path)
    texts = {key(n): str(n) for n in range(1000)}
    made.keep("acme", texts, NOW)

    assert made.find("acme", list(texts), NOW) == texts
    made.close()


def test_a_damaged_file_is_begun_anew(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"this is no database" * 100)
    made = store(tmp_path)

    assert made.keep("acme", {key(1): "text"}, NOW) == {key(1): "text"}
    assert made.find("acme", [key(1)], NOW) == {key(1): "text"}
    made.close()


def test_a_text_with_half_a_character_is_kept(tmp_path):
    made = store(tmp_path)
    kept = made.keep("acme", {key(1): "half \ud83d".encode("utf-8", "replace").decode()}, NOW)

    assert made.find("acme", [key(1)], NOW) == kept
    made.close()


async def test_a_shelf_without_a_disk_keeps_in_memory(tmp_path):
    shelf = build_shelf(SummaryStoreConfig(on_disk=False), tmp_path)
    await shelf.keep("acme", {key(1): "text"})
    await shelf.run()
    shelf.close()

    assert shelf.accept("acme", "one", key(1)) == "text"
    assert not list(tmp_path.iterdir())


async def test_a_verdict_is_a_sessions_own():
    shelf = Shelf(SummaryStoreConfig())
    await shelf.go_without("acme", "one", [key(1)])
    await shelf.keep("acme", {key(1): "text"})

    assert shelf.known("acme", "one", key(1)) == "" == shelf.accept("acme", "one", key(1))
    assert shelf.known("acme", "two", key(1)) is None
    assert shelf.accept("acme", "two", key(1)) == "text" == shelf.known("acme", "two", key(1))
    assert shelf.accept("acme", "two", key(2)) is None
    # The first word of a session counts.
    await shelf.go_without("acme", "two", [key(1)])
    assert shelf.known("acme", "two", key(1)) == "text"


class HangingStore:
    """A disk that does not answer until it is let go."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.asked = 0

    def find(self, tenant, keys, now):
        self.asked += 1
        assert self.goes_on.wait(30)
        return {keys[0]: "text"}

    def close(self) -> None:
        pass


async def test_a_disk_that_hangs_holds_up_nothing_else(monkeypatch):
    """Reloads, compressed bodies and name look-ups share the event loop's own threads."""
    monkeypatch.setattr("serve_app.summaries.keeping.shelf.DISK_S", 0.05)
    disk = HangingStore()
    shelf = Shelf(SummaryStoreConfig(), disk)
    try:
        await asyncio.gather(*(shelf.fetch("acme", str(n), [key(1)]) for n in range(64)))
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 10) == "free"
        # Nobody waits for it any more, or gives it more to do.
        monkeypatch.setattr("serve_app.summaries.keeping.shelf.DISK_S", 1000.0)
        await asyncio.wait_for(shelf.fetch("acme", "late", [key(1)]), 10)
        assert disk.asked == 1 and shelf.text("acme", key(1)) is None
    finally:
        disk.goes_on.set()
    while disk.asked < 65:
        await shelf.fetch("acme", "again", [key(1)])
        await asyncio.sleep(0.001)

    assert shelf.text("acme", key(1)) == "text"
    shelf.close()
    await shelf.fetch("acme", "closed", [key(2)])
    assert shelf.text("acme", key(2)) is None


async def test_whatever_the_disk_says_no_request_fails(caplog):
    """And the log quotes no summary."""

    class Broken(HangingStore):
        def keep(self, tenant, texts, now):
            raise ValueError(texts)

    shelf = Shelf(SummaryStoreConfig(), Broken())
    await shelf.keep("acme", {key(1): "secret"})
    shelf.close()

    assert shelf.text("acme", key(1)) == "secret"
    assert "ValueError" in caplog.text and "secret" not in caplog.text

"""One builder for all who watch."""

import asyncio
import logging

from serve_app.console.watchers import Watchers


def fast(build, **kwargs) -> Watchers:
    return Watchers(build, every_s=0.01, **kwargs)


def counting():
    built = []

    async def build():
        built.append(len(built) + 1)
        return built[-1]

    return build, built


async def test_nothing_is_built_while_nobody_watches():
    build, built = counting()
    watchers = fast(build)

    await asyncio.sleep(0.05)
    assert not built and not watchers.is_at_work

    watcher = watchers.join()
    assert await watcher.next() == 1
    watcher.leave()
    await watchers.rest()
    count = len(built)
    await asyncio.sleep(0.05)
    assert len(built) == count


async def test_many_watchers_cost_one_build():
    build, built = counting()
    watchers = fast(build, most=10)
    joined = [watchers.join() for _ in range(10)]

    first = [await x.next() for x in joined]

    assert len(set(first)) == 1
    assert len(built) == first[0]
    watchers.end()


async def test_a_slow_watcher_gets_the_newest_and_misses_the_rest():
    build, built = counting()
    watchers = fast(build)
    slow, quick = watchers.join(), watchers.join()
    while len(built) < 5:
        await quick.next()

    assert await slow.next() == watchers.latest >= 5
    watchers.end()


async def test_so_many_may_watch_and_a_place_is_given_back():
    build, _ = counting()
    watchers = fast(build, most=2)
    first, _second = watchers.join(), watchers.join()

    assert watchers.join() is None
    first.leave()
    first.leave()
    assert len(watchers) == 1
    assert watchers.join() is not None
    watchers.end()
    assert len(watchers) == 0


async def test_the_end_wakes_everybody():
    async def never():
        await asyncio.Event().wait()

    watchers = Watchers(never)
    waiting = asyncio.create_task(watchers.join().next())
    await asyncio.sleep(0)
    watchers.end()

    assert await waiting is None


async def test_a_failed_build_is_said_and_the_next_one_is_shown(caplog):
    failures = [ValueError("no controller")]

    async def build():
        if failures:
            raise failures.pop()
        return "figures"

    watchers = fast(build)
    with caplog.at_level(logging.ERROR, logger="ray.serve"):
        assert await watchers.join().next() == "figures"
    assert "could not be gathered" in caplog.text
    watchers.end()


async def test_who_comes_back_later_does_not_get_the_old_figures():
    build, _ = counting()
    watchers = fast(build)
    first = watchers.join()
    seen = await first.next()
    first.leave()
    await watchers.rest()

    assert await watchers.join().next() > seen
    watchers.end()

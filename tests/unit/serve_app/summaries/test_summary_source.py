"""What a summary of turns is made from: put together without holding the event loop."""

import asyncio

from router.summaries.keys import chain_keys
from serve_app.config.summaries import SummaryConfig
from serve_app.summaries.source import Chain, Kind, Source

TURNS = [f"turn {n}" for n in range(9)]
CUTS = (2, 4, 9)


def source() -> Source:
    *earlier, key = chain_keys(TURNS, CUTS)

    def text_from(number):
        yield from TURNS[CUTS[number] if number >= 0 else 0 :]
        yield ""

    chain = Chain(tuple(earlier), text_from)
    return Source(Kind.TURNS, key, SummaryConfig(), chain=chain)


async def test_it_goes_on_from_the_longest_summary_that_is_there():
    made = source()
    short, long = made.earlier

    alone = await made.begun(lambda _: None)
    after_two = await made.begun({short: "Two."}.get)
    after_four = await made.begun({short: "Two.", long: "Four."}.get)

    assert (alone.before, alone.text) == ("", "\n".join(TURNS))
    assert (after_two.before, after_two.text) == ("Two.", "\n".join(TURNS[2:]))
    assert (after_four.before, after_four.text) == ("Four.", "\n".join(TURNS[4:]))


async def test_others_have_the_event_loop_between_its_pieces():
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    busy = asyncio.create_task(other())
    await source().begun(lambda _: None)
    busy.cancel()

    assert turns >= len(TURNS)

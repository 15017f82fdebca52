"""An adviser of one ingress replica, over texts that a test writes."""

import pytest

from serve_app.advice.adviser import Adviser
from serve_app.advice.history import History
from serve_app.advice.view import AdviceView

BEGIN = 1_700_000_100.0 // 3600 * 3600


class Watched:
    """One ingress replica's adviser, whose clock and text a test sets."""

    def __init__(self, world, path) -> None:
        self.world, self.now, self.text, self.traffic = world, BEGIN, "", {}
        self.streams = {}
        self.adviser = Adviser(
            world.state,
            History(path, world.state.policies.fleet.advice),
            self._text,
            self._broadcast,
            world.tenancy,
            lambda: self.now,
        )
        self.view = AdviceView(self.adviser)

    async def _text(self):
        return self.text

    async def _broadcast(self, method):
        told = {"traffic_export": self.traffic, "streams_taken": self.streams}
        return [told[method], TimeoutError("late")]

    async def see(self, *texts):
        for told in texts:
            self.now, self.text = self.now + 15, told
            await self.adviser.turn()

    def row(self, trigger, subject="chat"):
        found = [x for x in self.adviser.rows if (x["trigger"], x["subject"]) == (trigger, subject)]
        return found[0]


@pytest.fixture
def watch(world, tmp_path):
    made = []

    def begin(path=tmp_path / "advice.db"):
        made.append(Watched(world, path))
        return made[-1]

    yield begin
    for each in made:
        each.adviser.close()

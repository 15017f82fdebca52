"""Every part of a real engine's replica, killed and stopped, under streams: `make soak`.

The other modules lose a part in each way in which its loss is noticed; this one loses all.
"""

from __future__ import annotations

import signal

import httpx
import pytest

from tests.e2e.replicas import CHAT, QUALITY, Loss, codes_of
from tests.e2e.streams import begin, stories
from tests.e2e.support import await_all, eventually, is_idle

pytestmark = pytest.mark.soak

TOKENS = 80
PARTS = {CHAT: ("actor", "EngineCore", "Worker"), QUALITY: ("actor", "EngineCore")}
"""Of a replica whose engine has a worker process, and of one whose engine has none."""

CELLS = [
    pytest.param(lane, part, how, id=f"{lane.rpartition(':')[2]}-{part}-{how.name}")
    for lane, parts in PARTS.items()
    for part in parts
    for how in (signal.SIGKILL, signal.SIGSTOP)
]


@pytest.mark.parametrize(("lane", "part", "how"), CELLS)
def test_nothing_stays_of_what_is_lost_and_another_comes(
    real: str, http: httpx.Client, lane: str, part: str, how: signal.Signals
) -> None:
    """Six streams of the chat lane end whole, and new requests are answered."""
    await_all(http, real, ingresses=1)
    eventually(lambda: is_idle(http, real))
    streams, loss = stories(real, TOKENS), Loss(lane, part)
    assert set(loss.parts) == set(PARTS[lane])
    begin(streams)

    loss.send(how)

    codes = codes_of(real, [f"{how}-{part}-{number}" for number in range(4)])
    assert codes == [200] * 4
    assert [x.whole()[1]["completion_tokens"] for x in streams] == [TOKENS] * len(streams)
    loss.await_end()
    if part != "actor":
        assert (loss.reason() == "EngineSilent") == (how is signal.SIGSTOP)
    loss.await_another()

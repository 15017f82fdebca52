"""A lane that is scaled: 1 -> 2 -> 1 under load, nothing broken, and HAProxy not told."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from benchmarks.support.deployment import haproxies
from tests.e2e.streams import CHAT, Stream, form
from tests.e2e.support import REPLACED_S, eventually, status_of

LANE = "elastic"
TOKENS = 100


class Talker(threading.Thread):
    """One stream after the other, each read to its end."""

    def __init__(self, url: str, number: int) -> None:
        super().__init__(daemon=True)
        self.enough = threading.Event()
        self.streams: list[Stream] = []
        self._url, self._number = url, number

    def run(self) -> None:
        while not self.enough.is_set():
            text = f"Story {self._number} of {len(self.streams)}."
            stream = Stream(self._url, CHAT, form(CHAT, text, TOKENS, model=LANE))
            self.streams.append(stream)
            stream.run()


def scaling(http: httpx.Client, url: str) -> dict[str, Any]:
    lanes = status_of(http, url).get("lanes", {})
    return lanes[LANE]["scaling"] if lanes else {}


@pytest.mark.busy
def test_a_lane_grows_and_shrinks_under_streams_and_none_breaks(
    simulated: str, http: httpx.Client
) -> None:
    before = eventually(haproxies)
    talkers = [Talker(simulated, number) for number in range(8)]
    for talker in talkers:
        talker.start()

    def both_talk() -> bool:
        lane = status_of(http, simulated).get("lanes", {}).get(LANE, {"replicas": []})
        busy = [row for row in lane["replicas"] if row["in_flight"]]
        return len(busy) == 2 and lane["scaling"]["ready"] == lane["scaling"]["target"] == 2

    eventually(both_talk, within_s=REPLACED_S, every_s=0.5)
    metrics = http.get(f"{simulated}/metrics").text
    for talker in talkers[2:]:
        talker.enough.set()

    def is_small() -> bool:
        row = scaling(http, simulated)
        return row.get("target") == 1 and row.get("ready") == 1 and row.get("draining") == 0

    eventually(is_small, within_s=REPLACED_S, every_s=0.5)
    for talker in talkers:
        talker.enough.set()
        talker.join()
    streams = [stream for talker in talkers for stream in talker.streams]

    assert [x.text[-300:] for x in streams if not x.is_whole] == []
    assert {len(x.words) for x in streams} == {TOKENS}
    assert f'pointsman_lane_replicas{{lane="{LANE}",state="target"}} 2.0' in metrics
    # A stream that waited has had its head before there was a replica.
    assert len({x.replica for x in streams} - {""}) == 2
    # An older one may have ended meanwhile; none has come.
    assert haproxies() <= before

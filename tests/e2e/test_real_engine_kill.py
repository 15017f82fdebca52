"""One SIGKILL of a real engine's replica, judged by all who might notice it.

Sorted early: what comes next needs no second replica, and runs while this one's loads.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.replicas import CHAT, Loss, codes_of
from tests.e2e.streams import begin, stories
from tests.e2e.support import await_two_chat_replicas

pytestmark = pytest.mark.busy

TOKENS = 80


@dataclass(frozen=True)
class Killed:
    """What was seen before, at and after the kill.

    Attributes:
        undisturbed: each story's text beforehand.
        disturbed: text and usage of the streams that were open.
        codes: answers to requests that came right after it.
        resumed: streams that went on from another replica.

    """

    loss: Loss
    undisturbed: list[str]
    disturbed: list[tuple[str, dict[str, int]]]
    codes: list[int]
    resumed: float


def resumed_streams(url: str, http: httpx.Client) -> float:
    """Streams that went on from another replica, as every ingress replica counts them."""
    families = text_string_to_metric_families(http.get(f"{url}/metrics").text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "pointsman_stream_recoveries_total"
        and sample.labels["outcome"] == "resumed"
    )


@pytest.fixture(scope="module")
def killed(real: str) -> Iterator[Killed]:
    """Six greedy streams over two replicas; the one with most of them is killed."""
    quiet, broken = stories(real, TOKENS), stories(real, TOKENS)
    with httpx.Client(timeout=60) as http:
        await_two_chat_replicas(http, real)
        begin(quiet)
        undisturbed = [stream.whole()[0] for stream in quiet]
        resumed = resumed_streams(real, http)
        # Looking a replica up takes longer on a busy machine than these streams do.
        losses = {name: Loss(CHAT, "actor", name) for name in {x.replica for x in quiet}}
        begin(broken)
        busy = Counter(x.replica for x in broken if x.replica in losses)
        ((busiest, _),) = busy.most_common(1)
        loss = losses[busiest]
        loss.send(signal.SIGKILL)
        codes = codes_of(real, [f"killed-{number}" for number in range(8)])
        disturbed = [stream.whole() for stream in broken]
        yield Killed(loss, undisturbed, disturbed, codes, resumed_streams(real, http) - resumed)


def test_every_request_is_answered(killed: Killed) -> None:
    """Also those that come before anybody knows of the death."""
    assert killed.codes == [200] * 8


def test_streams_go_on_word_for_word(killed: Killed) -> None:
    """Text and usage are those of a quiet run."""
    assert [text for text, _ in killed.disturbed] == killed.undisturbed
    assert all(usage["completion_tokens"] == TOKENS for _, usage in killed.disturbed)
    assert killed.resumed > 0


def test_nothing_of_it_is_left_and_another_comes(killed: Killed) -> None:
    """No process and no shared memory; the next test that needs two replicas waits for it."""
    assert set(killed.loss.parts) == {"actor", "EngineCore", "Worker"}
    killed.loss.await_end()
    killed.loss.await_another()

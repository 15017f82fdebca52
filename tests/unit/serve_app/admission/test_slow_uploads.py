"""Bodies that come slowly, or never: how long they are waited for, and what they hold."""

import asyncio

import pytest

from serve_app.admission.uploads import Uploads
from serve_app.bodies import big_bodies
from serve_app.front import request_body
from tests.unit.serve_app.conftest import with_ceilings
from tests.unit.serve_app.socket_world import until
from tests.unit.serve_app.uploads import (
    CHAT,
    HI,
    RAW,
    READING,
    WAIT_S,
    Upload,
    arriving,
    leave,
    with_limits,
)

pytestmark = pytest.mark.security


# -- how long ---------------------------------------------------------------------------


async def test_a_body_that_falls_silent_is_not_waited_for(world):
    """Long before all of the time that a body may take; what it held is free."""
    with_limits(world, body_timeout_s=600, body_silence_s=0.05)
    upload = Upload(world)
    upload.say(RAW[:5], more=True)

    status, headers, body = await upload.answer()
    await leave(upload)

    assert (status, body["error"]["code"]) == (400, "invalid_request")
    assert headers["connection"] == "close"
    assert world.state.uploads.count == 0


async def test_a_body_that_never_falls_silent_has_its_time_all_the_same(world):
    with_limits(world, body_timeout_s=0.2, body_silence_s=600)
    upload = Upload(world, length=60_000)

    async def trickle() -> None:
        while not upload.sent:
            upload.say(b" ", more=True)
            await asyncio.sleep(0.005)

    async with asyncio.timeout(WAIT_S):
        await trickle()
    status, _, body = await upload.answer()
    await leave(upload)

    assert (status, body["error"]["message"]) == (400, "The request body did not arrive.")


async def test_empty_pieces_do_not_break_the_silence(world):
    with_limits(world, body_timeout_s=600, body_silence_s=0.1)
    upload = Upload(world)

    async def nothing() -> None:
        while not upload.sent:
            upload.say(b"", more=True)
            await asyncio.sleep(0.005)

    async with asyncio.timeout(WAIT_S):
        await nothing()
    await leave(upload)


async def test_a_slow_body_within_its_bounds_is_served(patient, engine):
    patient.lanes.answers = [engine()]
    upload = Upload(patient)
    for byte in RAW[:-1]:
        upload.say(bytes([byte]), more=True)
        await asyncio.sleep(0)
    upload.say(RAW[-1:])

    status, headers, _ = await upload.answer()

    assert status == 200 and "connection" not in headers
    assert patient.lanes.opened[0].body["messages"] == HI["messages"]


# -- how many ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", READING)
async def test_a_tenant_has_so_many_and_another_is_answered(patient, engine, path):
    """429 at the header of one more; the others' places are free again when theirs have come."""
    with_limits(patient, max_uploads_per_tenant=3)
    held = [Upload(patient, path) for _ in range(3)]
    await arriving(patient, 3)

    refused = Upload(patient, path)
    status, headers, body = await refused.answer()
    assert (status, body["error"]["code"]) == (429, "tenant_concurrency")
    assert int(headers["retry-after"]) >= 1
    assert patient.state.uploads.count == 3
    other = Upload(patient, path, key="slow")
    await arriving(patient, 4)
    assert not other.sent

    await leave(*held, refused, other)
    assert patient.state.uploads.count == 0
    patient.lanes.answers = [engine({"input_tokens": 9})]
    again = Upload(patient, path)
    again.say()
    assert (await again.answer())[0] != 429


async def test_a_whole_body_gives_its_place_back_before_it_is_answered(patient, stream):
    """However long the answer takes."""
    with_limits(patient, max_uploads_per_tenant=1)
    gates = [asyncio.Event() for _ in range(2)]
    patient.lanes.answers = [stream(gate, b"data: [DONE]\n\n") for gate in gates]
    running = []
    for number in (1, 2):
        running.append(Upload(patient))
        running[-1].say()
        await until(lambda count=number: len(patient.lanes.opened) == count)

    assert patient.state.uploads.count == 0
    for gate, upload in zip(gates, running, strict=True):
        gate.set()
        await upload.end()


@pytest.mark.parametrize("path", [CHAT, "/v1/messages/count_tokens", "/v1/route"])
async def test_a_large_body_has_its_place_until_it_is_read(patient, engine, monkeypatch, path):
    """Those that wait for their turn are many megabytes, and hold places of the process."""
    monkeypatch.setattr(big_bodies, "BIG_BYTES", 1)
    with_limits(patient, max_uploads_per_tenant=2)
    turn = patient.pipeline.big_bodies.turn
    await turn.take("another")
    patient.lanes.answers = [engine({"input_tokens": 9}) for _ in range(2)]
    waiting = [Upload(patient, path) for _ in range(2)]
    for upload in waiting:
        upload.say()
    await until(lambda: len(turn.waiting.get("acme", ())) == 2)

    third = Upload(patient, path)
    third.say()
    status, _, body = await third.answer()

    assert (status, body["error"]["code"]) == (429, "tenant_concurrency")
    turn.leave()
    for upload in waiting:
        await upload.end()
    assert patient.state.uploads.count == 0


async def test_what_waits_to_be_read_is_among_those_at_once(patient, engine, monkeypatch):
    """So that no request finds its place taken when it has been read."""
    monkeypatch.setattr(big_bodies, "BIG_BYTES", 1)
    with_ceilings(patient, concurrent_requests=1)
    turn = patient.pipeline.big_bodies.turn
    await turn.take("another")
    patient.lanes.answers = [engine()]
    first = Upload(patient)
    first.say()
    await until(lambda: "acme" in turn.waiting)

    second = Upload(patient)
    second.say()
    assert (await second.answer())[0] == 429
    turn.leave()

    assert (await first.answer())[0] == 200
    await until(first.task.done)


async def test_arriving_bodies_are_among_those_at_once(patient):
    """`concurrent_requests` holds from the header on; refused so, a request is not counted."""
    with_ceilings(patient, concurrent_requests=2, requests_per_minute=10)
    held = [Upload(patient) for _ in range(2)]
    await arriving(patient, 2)

    refused = Upload(patient)
    status, headers, body = await refused.answer()

    assert (status, body["error"]["code"]) == (429, "tenant_concurrency")
    assert headers["x-ratelimit-remaining-requests"] == "8"
    assert patient.count("pointsman_shed_total", tier="paid", code="tenant_concurrency") == 1
    await leave(*held, refused)


@pytest.mark.parametrize("places", [2000, 100, 7, 1])
def test_one_tenant_has_a_quarter_of_all_places_at_most(places):
    """And whoever holds what they can, the next finds one."""
    uploads, held = Uploads(places), []

    def fill(tenant) -> int:
        for _ in range(places):
            if uploads.try_begin(tenant, 10_000) is not None:
                break
            held.append(tenant)
        return uploads.held[tenant]

    shares = [fill(name) for name in "abcdef"]

    assert shares[0] == max(1, -(-(places // 2) // 2))
    assert uploads.count == sum(shares) <= max(1, places // 2)
    assert places < 100 or all(shares)
    while held:
        uploads.end(held.pop())
    assert uploads.count == 0 and not uploads.held


async def test_who_is_not_known_holds_nothing(patient):
    """401 at the header, to each of many."""
    strangers = [Upload(patient, key=f"pm-no-{number}") for number in range(30)]
    answers = [await stranger.answer() for stranger in strangers]

    assert {status for status, _, _ in answers} == {401}
    assert patient.state.uploads.count == 0
    await leave(*strangers)


# -- answers before the body is read ----------------------------------------------------


async def test_a_small_body_that_is_here_leaves_the_connection_open(patient):
    upload = Upload(patient, key="pm-nobody")
    upload.say()

    status, headers, _ = await upload.answer()
    await upload.end()

    assert status == 401 and "connection" not in headers
    assert upload.sent[-1].get("more_body", False) is False


async def test_who_is_still_sending_is_told_before_the_connection_ends(patient):
    """The whole answer first; the end of it when the body has come."""
    upload = Upload(patient, length=2**40)

    status, headers, body = await upload.answer()
    assert (status, body["error"]["code"]) == (413, "request_too_large")
    assert headers["connection"] == "close"
    assert len(upload.sent[1]["body"]) == int(headers["content-length"])
    assert upload.sent[1]["more_body"] and not upload.task.done()
    upload.say(b"x" * 1000, more=True)
    upload.say(b"x" * 1000)
    await upload.end()

    assert [(x["body"], x.get("more_body", False)) for x in upload.sent[2:]] == [(b"", False)]


async def test_only_so_many_answers_wait_for_a_body_that_nobody_reads(patient, monkeypatch):
    monkeypatch.setattr(request_body, "MAX_LINGERING", 2)
    waiting = [Upload(patient, key="pm-nobody", length=2**20) for _ in range(2)]
    for upload in waiting:
        await upload.answer()
    third = Upload(patient, key="pm-nobody", length=2**20)

    await third.end()

    assert not any(upload.task.done() for upload in waiting)
    await leave(*waiting)


async def test_the_rest_of_a_body_is_not_waited_for_long(patient, monkeypatch):
    monkeypatch.setattr(request_body, "SILENT_S", 0.05)
    upload = Upload(patient, key="pm-nobody", length=2**20)

    await upload.end()

    assert upload.sent[0]["status"] == 401
    assert not upload.sent[-1].get("more_body")


async def test_an_encoding_that_is_not_known_is_told_without_the_body(patient):
    upload = Upload(patient, length=60_000, **{"content-encoding": "lzma"})

    assert (await upload.answer())[0] == 415
    await leave(upload)

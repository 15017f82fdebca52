"""Whom the feed shows what, and that it shows what `/metrics` has."""

import asyncio
import json
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve_app.console.console import Console
from serve_app.console.exposition import HISTOGRAMS, LARGEST, SAMPLES
from serve_app.front import console_routes
from serve_app.front.door import Door
from serve_app.front.http_request import HttpRequest
from serve_app.tenancy.auth import OPERATOR
from tests.unit.serve_app.console.deployment import EASY, HARD


def events(text):
    """`[(name, data)]` of a stream of events."""
    found = []
    for part in text.split("\n\n"):
        lines = dict(x.split(": ", 1) for x in part.split("\n") if not x.startswith(":") and x)
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


@pytest.fixture
def one_snapshot(monkeypatch):
    """A feed ends after its first figures."""
    monkeypatch.setattr(console_routes, "LIFETIME_S", 0.001)


async def feed(world, key=None, at="127.0.0.1", **headers):
    async with world.client(host=at, key=key) as client:
        return await client.get("/console/feed", headers=headers)


# -- who may look -----------------------------------------------------------


@pytest.mark.security
async def test_an_admin_key_sees_all(world, one_snapshot):
    answer = await feed(world, "root")

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    (kind, data), (end, _) = events(answer.text)
    assert (kind, data["scope"], end) == ("snapshot", "all", "end")
    assert {"warnings", "ingress", "lanes"} <= set(data["status"])


@pytest.mark.security
async def test_without_a_key_at_this_machine_only_figures_and_what_is_its_own(
    deployment, one_snapshot
):
    await asyncio.gather(deployment.ask("acme", "Hi"), deployment.ask(None, "Hello"))
    async with deployment.client() as client:
        answer = await client.get("/console/feed")

    data = events(answer.text)[0][1]
    assert data["scope"] == "own" and data["tenant"] == "local"
    assert [x["tenant"] for x in data["recent"]["decisions"]] == ["local"]
    assert not {"ingress", "warnings", "ledger", "advice"} & set(data["status"])
    assert not {"faults", "log"} & set(data["recent"])
    assert data["samples"]["pointsman_requests_total"]


@pytest.mark.security
@pytest.mark.parametrize(
    ("key", "at", "headers", "status", "code"),
    [
        ("acme", "127.0.0.1", {}, 403, "admin_only"),
        ("pm-000000000000-nonsense", "127.0.0.1", {}, 401, "invalid_api_key"),
        (None, "10.0.0.9", {}, 401, "invalid_api_key"),
        (None, "127.0.0.1", {"x-forwarded-for": "10.0.0.9"}, 401, "invalid_api_key"),
        (None, "127.0.0.1", {"host": "evil.example"}, 401, "invalid_api_key"),
        (None, "127.0.0.1", {"origin": "http://localhost:9999"}, 401, "invalid_api_key"),
    ],
)
async def test_others_see_nothing(world, key, at, headers, status, code):
    answer = await feed(world, key, at, **headers)

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code


@pytest.mark.security
async def test_a_key_that_is_revoked_shows_nothing_more(world):
    """Asked again before each snapshot: the stream ends without another one."""
    rule, asked = Door(world.state, trusts_local=True).metrics, []

    def may_watch(caller):
        asked.append(caller)
        return rule(caller if len(asked) < 3 else replace(caller, key="pm-000000000000-gone"))

    routes = console_routes.ConsoleRoutes(Console(world.control, every_s=0.01), may_watch)
    sent = []

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/console/feed", "client": ("127.0.0.1", 1)}
    scope["headers"] = [(b"authorization", f"Bearer {world.keys['root']}".encode())]
    await routes.feed(HttpRequest(scope, receive, send), OPERATOR)

    text = b"".join(x.get("body", b"") for x in sent).decode()
    assert [kind for kind, _ in events(text)] == ["snapshot", "snapshot", "end"]


# -- bounds -----------------------------------------------------------------


async def test_so_many_pages_may_watch(world):
    console = Console(world.control, most=1)
    world.use(world.lanes, console=console)
    watcher = console.watchers.join()

    answer = await feed(world, "root")

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "5"
    watcher.leave()


async def test_a_page_that_leaves_is_watching_no_more(world, call_raw):
    console = Console(world.control, every_s=0.01)
    world.use(world.lanes, console=console)
    auth = (b"authorization", f"Bearer {world.keys['root']}".encode())
    messages = [{"type": "http.request", "body": b""}, {"type": "http.disconnect"}]
    host = (b"host", b"localhost")

    sent = await call_raw(
        world.gateway, messages, method="GET", path="/console/feed", headers=[auth, host]
    )

    assert sent[0]["status"] == 200
    assert len(console.watchers) == 0


async def test_a_page_that_reads_nothing_is_left(world, monkeypatch):
    monkeypatch.setattr(console_routes, "SLOW_S", 0.01)
    console = Console(world.control, every_s=0.01)
    world.use(world.lanes, console=console)
    auth = (b"authorization", f"Bearer {world.keys['root']}".encode())
    scope = {"type": "http", "method": "GET", "path": "/console/feed", "query_string": b""}
    scope |= {"headers": [auth, (b"host", b"localhost")], "client": ("127.0.0.1", 1)}
    asked = [{"type": "http.request", "body": b""}]

    async def receive():
        return asked.pop() if asked else await asyncio.Event().wait()

    async def send(message):
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async with asyncio.timeout(10):
        await world.gateway(scope, receive, send)

    assert len(console.watchers) == 0


async def test_a_replica_that_serve_lists_no_more_sends_its_watchers_away(world):
    async def broadcast(method, within_s=3.0):
        return [{"replica": "another", "text": "", "tenants_near_limit": [], "active_sessions": {}}]

    world.use(world.lanes, broadcast=broadcast)
    console = Console(world.control, replica="me", every_s=0.01)
    watcher = console.watchers.join()

    async with asyncio.timeout(10):
        while await watcher.next() is not None:
            pass
    assert len(console.watchers) == 0


async def test_nobody_is_sent_away_while_the_replica_is_listed(world):
    async def broadcast(method, within_s=3.0):
        return [{"replica": "me", "text": "", "tenants_near_limit": [], "active_sessions": {}}]

    world.use(world.lanes, broadcast=broadcast)
    console = Console(world.control, replica="me", every_s=0.01)
    watcher = console.watchers.join()

    for _ in range(6):
        assert await watcher.next() is not None
    console.close()
    assert await watcher.next() is None


# -- the figures ------------------------------------------------------------


def expected(text):
    """The shown families by another reader's account: the library's."""
    samples, buckets = {}, {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name, labels = sample.name, sample.labels
            if name in SAMPLES:
                key = tuple(labels.get(x, "") for x in SAMPLES[name])
                values = samples.setdefault(name, {})
                before = values.get(key)
                if before is None:
                    values[key] = sample.value
                else:
                    both = (before, sample.value)
                    values[key] = max(both) if name in LARGEST else sum(both)
            of = name.removesuffix("_bucket")
            if of in HISTOGRAMS and of != name:
                counts = buckets.setdefault(of, {}).setdefault(labels[HISTOGRAMS[of]], {})
                counts[labels["le"]] = counts.get(labels["le"], 0) + sample.value
    return samples, buckets


async def test_every_figure_is_the_metrics_own(deployment):
    work = [deployment.ask(x, text) for x in ("acme", "blog") for text in (*EASY, *HARD)]
    await asyncio.gather(*work, deployment.ask("acme", "[break] please"))

    snapshot = await deployment.console.build()
    async with deployment.client("root") as client:
        text = (await client.get("/metrics")).text
        status = (await client.get("/status")).json()
    data = json.loads(snapshot.whole.split(b"data: ", 1)[1])

    samples, buckets = expected(text)
    shown = {
        family: {
            tuple(str(v) for k, v in row.items() if k != "value"): row["value"] for row in rows
        }
        for family, rows in data["samples"].items()
    }
    assert shown == samples
    assert len(samples) >= 15
    for family, of_label in buckets.items():
        for name, counts in of_label.items():
            found = data["histograms"][family][name]
            bounds = ["+Inf" if b is None else b for b in found["bounds"]]
            assert dict(zip(map(float, bounds), found["counts"], strict=True)) == {
                float(le): n for le, n in counts.items()
            }
    assert data["status"] == status


async def test_a_decision_is_explained_without_a_word_of_the_request(deployment):
    deployment.pipeline.recent.export()  # somebody looks
    secret = "the launch code is xylem"
    await deployment.ask("acme", f"{HARD[0]} {secret}")

    snapshot = await deployment.console.build()

    row = snapshot.recent["decisions"][0]
    assert row["tenant"] == "acme" and row["code"] == "200"
    assert row["margin"] == pytest.approx(row["score"] - row["threshold"])
    assert {"kind", "need", "prior"} <= set(row["features"])
    assert {"classify", "engine"} <= set(row["stages"])
    assert row["ttft_s"] > 0
    assert b"xylem" not in snapshot.whole and b"launch" not in snapshot.whole


async def test_a_replica_that_died_shows_in_words_and_what_became_of_its_request(deployment):
    for number in (1, 2, 3):
        await deployment.ask("acme", f"Hi {number}")
    await deployment.kill("chat", "c1")
    await asyncio.gather(*(deployment.ask("acme", f"Hello {x}") for x in range(9)))

    snapshot = await deployment.console.build()

    faults = snapshot.recent["faults"]
    assert {x["replica"] for x in faults} == {"c1"}
    assert "Nothing answered" in faults[0]["what"]
    assert len(snapshot.status["lanes"]["chat"]["replicas"]) == 2
    recovered = [x for x in snapshot.recent["decisions"] if x["recoveries"]]
    assert recovered and all(x["code"] == "200" for x in recovered)


async def test_refusals_say_who_and_why(deployment):
    await asyncio.gather(*(deployment.ask("visitor", "Hi", 2) for _ in range(15)))

    snapshot = await deployment.console.build()

    refusals = snapshot.recent["refusals"]
    assert [(x["tenant"], x["code"]) for x in refusals] == [("visitor", "request_rate")] * 5
    assert all("requests" in x["message"] and x["retry_after_s"] > 0 for x in refusals)
    assert snapshot.recent["refused_by"] == [
        {"tenant": "visitor", "tier": "trial", "code": "request_rate", "count": 5}
    ]

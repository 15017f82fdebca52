"""Promotions through the operators' routes: warmed first, seen by all, sessions left in peace."""

import asyncio
from dataclasses import dataclass, field

import pytest

from router.placement.hot_prefixes import HotPrefix
from serve_app.bodies.prefixes import request_of
from serve_app.engine.warm_up import prefill
from serve_app.front.gateway import Gateway
from serve_app.front.rotation import Rotation
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.state import IngressState
from serve_app.registry.tool_set import CHAT
from tests.unit.serve_app.conftest import FakeLanes, FakeResponse
from tests.unit.serve_app.engines import running
from tests.unit.serve_app.registry.tool_files import book_of, tool, write

LONG = "You are the assistant of a shop that sells bicycles. " * 20
SYSTEM = {"role": "system", "content": LONG}
SAID = {"role": "user", "content": "Who is Ada?"}


@dataclass
class WarmLanes(FakeLanes):
    """Lanes whose replicas read prefixes; `outcomes`: what each replica comes to."""

    outcomes: list = field(default_factory=lambda: [None])
    read: list[tuple[str, str, list[HotPrefix]]] = field(default_factory=list)
    on_read: object = None

    async def prefill(self, lane, model_id, hot, *, within_s):
        self.read.append((lane, model_id, hot))
        if self.on_read is not None:
            await self.on_read(hot)
        return [len(hot) if x == "all" else x for x in self.outcomes]


class Fleet:
    """Two ingress replicas with a registry each, over one store and one folder."""

    def __init__(self, world, tmp_path) -> None:
        self.world, self.folder = world, tmp_path / "tools"
        write(self.folder, version=7, tools=[tool("find_person"), tool("add_note")])
        self.books = [book_of(self.folder, tmp_path) for _ in range(2)]
        self.states = [
            IngressState(world.state.policies, "s3", f"i{i}", book)
            for i, book in enumerate(self.books)
        ]
        self.lanes = world.lanes = WarmLanes(outcomes=["all"])
        world.use(self.lanes, state=self.states[0], broadcast=self.broadcast)
        second = Pipeline(self.states[1], self.lanes, world.metrics)
        self.gateways = [
            world.gateway,
            Gateway(self.states[1], second, world.control, feedback=None),
        ]
        write(self.folder, version=8, tools=[tool("find_person"), tool("call_back")])

    async def broadcast(self, method, within_s=3.0, *args):
        """What Serve does: each replica answers, as `serve_app.ingress` would."""
        return [getattr(self, f"_{method}")(state, *args) for state in self.states]

    def _refresh_tools(self, state):
        state.tool_book.refresh(at_once=True)
        return {"ok": not state.tool_book.refused}

    def _tool_prefixes(self, state, name, version):
        return {lane: state.tool_prefixes(lane, name, version) for lane in self.lanes.names()}

    def _sessions_of_tools(self, state, name):
        return state.tool_sessions.of(name, 0.0)

    async def ask(self, session, *, replica=0, tools="crm", key="acme") -> list[str]:
        """One request through an ingress replica; the names of the tools the engine got."""
        self.lanes.answers.append(
            FakeResponse(b'{"usage": {"prompt_tokens": 7, "completion_tokens": 3}}')
        )
        self.world.gateway = self.gateways[replica]
        body = {"messages": [SYSTEM, SAID], "tools": {"registry": tools}}
        answer = await self.world.post(CHAT, body, key=key, headers={"x-session-id": session})
        assert answer.status_code == 200
        return [x["function"]["name"] for x in self.lanes.opened[-1].body["tools"]]

    async def operate(self, action, **body) -> dict:
        self.world.gateway = self.gateways[0]
        answer = await self.world.post(f"/admin/tools/{action}", body, key="root")
        assert answer.status_code == 200, answer.text
        return answer.json()


OLD, NEW = ["add_note", "find_person"], ["call_back", "find_person"]


@pytest.fixture
def fleet(world, tmp_path):
    return Fleet(world, tmp_path)


async def test_traffic_moves_when_the_replicas_have_read_what_it_will_begin_with(fleet):
    """Until then the old version serves; what is read is the new one, under the tenant's salt."""
    await fleet.ask("a")
    during = []

    async def meanwhile(hot):
        during.append(await fleet.ask("b", replica=1))

    fleet.lanes.on_read = meanwhile
    told = await fleet.operate("promote", set="crm@8")

    assert (told["ok"], told["promoted"], told["previous"]) == (True, "crm@8", "crm@7")
    assert told["warmed"] == [{"lane": "chat", "prefixes": 1, "read": 1, "error": ""}]
    ((lane, model, (hot,)),) = fleet.lanes.read
    path, body = request_of(hot.prefix, model=model, cache_salt=hot.group)
    assert (lane, model, path) == ("chat", "small", CHAT)
    assert [x["function"]["name"] for x in body["tools"]] == NEW
    assert hot.group == fleet.lanes.opened[0].body["cache_salt"]
    assert during == [OLD]
    assert [await fleet.ask("c", replica=i) for i in (0, 1)] == [NEW, NEW]


async def test_the_first_request_after_a_promotion_finds_its_prefix_on_the_replica(fleet):
    """By a simulated engine's own counters; on one that was not warmed it finds nothing."""
    await fleet.ask("a")
    async with running() as warm, running() as cold:

        async def read(hot):
            assert await prefill(warm.http, "small", hot, within_s=20) == 1

        fleet.lanes.on_read = read
        await fleet.operate("promote", set="crm@8")
        assert await fleet.ask("b") == NEW
        sent = fleet.lanes.opened[-1].body

        assert await cold.cached(CHAT, sent) == 0
        assert await warm.cached(CHAT, sent) > len(LONG.split()) // 2


async def test_sessions_that_began_before_stay_wherever_they_are_answered(fleet):
    """Both ingress replicas know those of both; a restart does not lose them."""
    await fleet.ask("a", replica=0)
    await fleet.ask("b", replica=1)

    told = await fleet.operate("promote", set="crm@8")

    assert told["held_sessions"] == 2
    found = {
        (session, replica): await fleet.ask(session, replica=replica)
        for session in "abc"
        for replica in (0, 1)
    }
    assert {k for k, tools in found.items() if tools == OLD} == {
        (session, replica) for session in "ab" for replica in (0, 1)
    }
    # Another tenant's session of the same name is another session.
    assert await fleet.ask("a", key="root") == NEW


async def test_with_now_nobody_stays_behind(fleet):
    await fleet.ask("a")

    told = await fleet.operate("promote", set="crm@8", now=True)

    assert told["held_sessions"] == 0
    assert await fleet.ask("a") == NEW


async def test_who_stayed_behind_is_moved_later_by_now(fleet):
    await fleet.ask("a")
    await fleet.operate("promote", set="crm@8")
    await fleet.operate("promote", set="crm@8")
    assert await fleet.ask("a") == OLD

    told = await fleet.operate("promote", set="crm@8", now=True)

    assert (told["ok"], told["previous"]) == (True, None)
    assert [await fleet.ask("a", replica=i) for i in (0, 1)] == [NEW, NEW]
    assert fleet.books[1].sets.promoted["crm"].previous == 7


async def test_a_rollback_takes_everybody_back_at_once(fleet):
    """Who rolls back has found the new version wrong."""
    await fleet.ask("a")
    await fleet.operate("promote", set="crm@8")
    assert await fleet.ask("new") == NEW

    told = await fleet.operate("rollback", set="crm")

    assert (told["promoted"], told["previous"], told["held_sessions"]) == ("crm@7", "crm@8", 0)
    assert [await fleet.ask(x, replica=1) for x in ("a", "new", "c")] == [OLD] * 3
    assert (await fleet.operate("rollback", set="crm"))["promoted"] == "crm@8"


@pytest.mark.parametrize("outcomes", [["all", None], [0], []], ids=["silent", "refused", "none"])
async def test_a_replica_that_was_not_warmed_keeps_traffic_where_it_is(fleet, outcomes):
    """Unless the operator wants it all the same."""
    await fleet.ask("a")
    fleet.lanes.outcomes = outcomes

    told = await fleet.operate("promote", set="crm@8")

    assert not told["ok"] and "chat" in told["error"] and "--force" in told["error"]
    assert await fleet.ask("b") == OLD
    assert (await fleet.operate("promote", set="crm@8", force=True))["ok"]
    assert await fleet.ask("c") == NEW


@pytest.mark.parametrize(
    ("method", "said"), [("tool_prefixes", "prompts"), ("sessions_of_tools", "sessions")]
)
async def test_an_ingress_replica_that_does_not_answer_keeps_traffic_where_it_is(
    fleet, monkeypatch, method, said
):
    """What it has seen is neither warmed nor held. Serve's broadcast has its fault as an answer."""
    await fleet.ask("a")
    whole = fleet.broadcast

    async def broadcast(name, within_s=3.0, *args):
        answers = await whole(name, within_s, *args)
        return [answers[0], TimeoutError("no answer in time")] if name == method else answers

    fleet.world.use(fleet.lanes, state=fleet.states[0], broadcast=broadcast)
    fleet.gateways[0] = fleet.world.gateway

    told = await fleet.operate("promote", set="crm@8")

    assert not told["ok"] and f"which {said} it has seen" in told["error"]
    assert await fleet.ask("b") == OLD
    assert (await fleet.operate("promote", set="crm@8", force=True))["ok"]
    assert await fleet.ask("c") == NEW


async def test_what_nobody_asked_for_is_not_warmed(fleet):
    await fleet.ask("a", tools="crm@7")

    told = await fleet.operate("promote", set="crm@8")

    assert (told["ok"], told["warmed"], fleet.lanes.read) == (True, [], [])


async def test_the_same_promotion_twice_changes_nothing(fleet):
    await fleet.operate("promote", set="crm@8")

    told = await fleet.operate("promote", set="crm@8")

    assert (told["ok"], told["previous"]) == (True, None)
    assert fleet.books[1].sets.promoted["crm"].previous == 7


async def test_two_promotions_at_once_are_one_after_the_other(fleet):
    """Through two ingress replicas the later one finds that it was too late."""
    write(fleet.folder, version=9)
    for book in fleet.books:
        book.refresh(at_once=True)
    await fleet.ask("a")

    async def meanwhile(hot):
        fleet.lanes.on_read = None
        other = Rotation(fleet.states[1], fleet.lanes, fleet.broadcast)
        assert (await other.promote("crm@9", now=True, force=False))["ok"]

    fleet.lanes.on_read = meanwhile
    told = await fleet.operate("promote", set="crm@8")

    assert not told["ok"] and "somebody else" in told["error"]
    assert await fleet.ask("b") == ["find_person"]
    both = await asyncio.gather(
        *(fleet.operate("promote", set=f"crm@{version}", now=True) for version in (7, 8))
    )
    assert [x["ok"] for x in both] == [True, True]


async def test_a_set_is_retired_when_its_files_are_gone(fleet):
    refused = await fleet.world.post("/admin/tools/retire", {"set": "crm"}, key="root")
    assert refused.status_code == 400 and "take them away first" in refused.text
    for path in fleet.folder.iterdir():
        path.unlink()

    assert (await fleet.operate("retire", set="crm"))["ok"]

    answer = await fleet.world.post(
        CHAT, {"messages": [SAID], "tools": {"registry": "crm"}}, key="acme"
    )
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("action", "body", "said"),
    [
        ("promote", {"set": "crm@9"}, "has no version 9"),
        ("promote", {"set": "crm"}, "Say which version"),
        ("promote", {"set": 8}, "must be the name"),
        ("promote", ["crm@8"], "must be the name"),
        ("promote", {"set": "crm@8", "now": "yes"}, "flags now and force"),
        ("promote", {"set": "crm@8", "later": True}, "flags now and force"),
        ("rollback", {"set": "crm"}, "has stood for no version but 7"),
        ("rollback", {"set": "web"}, "There is no tool set 'web'"),
        ("retire", {"set": "web"}, "There is no tool set 'web'"),
        ("rollback", {"set": "crm@7"}, "name alone"),
        ("retire", {"set": "crm@8"}, "name alone"),
    ],
)
async def test_what_cannot_be_done_is_said(fleet, action, body, said):
    answer = await fleet.world.post(f"/admin/tools/{action}", body, key="root")

    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
    assert fleet.books[0].sets.promoted["crm"].version == 7


async def test_a_body_that_is_no_json_is_said(fleet):
    async with fleet.world.client(key="root") as client:
        answer = await client.post("/admin/tools/promote", content=b"{")

    assert answer.json()["error"]["code"] == "invalid_json"


@pytest.mark.parametrize("key", ["acme", None])
async def test_only_operators_may(fleet, key):
    """A tenant's key neither looks nor promotes."""
    async with fleet.world.client(key=key) as client:
        found = [
            await client.request(method, f"/admin/tools{action}", json={"set": "crm@8"})
            for method, action in (
                ("GET", ""),
                ("POST", "/promote"),
                ("POST", "/rollback"),
                ("POST", "/retire"),
            )
        ]

    assert {x.status_code for x in found} == {403}
    assert fleet.books[0].sets.promoted["crm"].version == 7


async def test_operators_see_what_there_is(fleet):
    await fleet.ask("a")
    await fleet.operate("promote", set="crm@8")
    write(fleet.folder, version=7)
    fleet.books[0].refresh(at_once=True)

    async with fleet.world.client(key="root") as client:
        told = (await client.get("/admin/tools")).json()
        one = (await client.get("/admin/tools?set=crm")).json()
        none = await client.get("/admin/tools?set=web")

    (crm,) = told["sets"]
    assert (crm["name"], crm["promoted"], crm["previous"], crm["held_sessions"]) == ("crm", 8, 7, 1)
    assert [x["set"] for x in crm["versions"]] == ["crm@7", "crm@8"]
    assert "never changes" in told["refused"][0]
    assert one["set"] == "crm@8" and set(one["forms"]) == {CHAT, "/v1/messages", "/v1/responses"}
    assert none.status_code == 400


async def test_without_a_registry_that_is_said(world):
    """A deployment that was built without one, as most tests' are."""
    answer = await world.post("/admin/tools/promote", {"set": "crm@8"}, key="root")

    assert answer.status_code == 400
    assert "no tool set 'crm'" in answer.json()["error"]["message"]

"""Asking every ingress replica: who is silent is told, and what each remembers is joined."""

import asyncio
from types import SimpleNamespace

from serve_app.admin import peers as module
from serve_app.admin.peers import Peer, Peers, newest_use, used_at
from serve_app.config.files import wall_s


def state_of(replicas):
    ingress = SimpleNamespace(replicas=replicas)
    return SimpleNamespace(policies=SimpleNamespace(fleet=SimpleNamespace(ingress=ingress)))


async def test_who_did_not_answer_or_is_not_listed_is_in_the_answer():
    """One answered, one was late, one is not there: a change does not hold everywhere."""
    asked = []

    async def broadcast(*what):
        asked.append(what)
        return [{"replica": "i1", "ok": True}, TimeoutError("late")]

    told = await Peers(broadcast, state_of(3)).ask("keys", within_s=7)

    assert asked == [("admin", 7, "keys")]
    assert [x["ok"] for x in told] == [True, False, False]
    assert {x["error"] for x in told[1:]} == {"did not answer"}


def test_a_key_was_used_when_any_replica_saw_it_last():
    told = [{"uses": {"a": 9.0, "b": 1.0}}, {"uses": {"a": 2.0}}, {"ok": False}]

    assert newest_use(told) == {"a": 2.0, "b": 1.0}
    assert used_at(None) is None
    assert abs(used_at(60.0) - (wall_s() - 60)) <= 1


async def test_a_withdrawn_replica_is_judged_by_its_own_word_after_a_while(monkeypatch):
    """An ingress that misses the call that takes a drain back does not avoid it for ever."""
    monkeypatch.setattr(module, "HANDOVER_S", 0.01)
    said, restored = [], asyncio.Event()

    def restore(*what):
        said.append(("restore", *what))
        restored.set()

    lanes = SimpleNamespace(withdraw=lambda *x: said.append(("withdraw", *x)), restore=restore)
    peer = Peer("i1", None, lanes, None, None, None, None)

    told = await peer.answer("withdraw", "chat", "r1")
    await asyncio.wait_for(restored.wait(), 10)

    assert told == {"replica": "i1", "ok": True}
    assert said == [("withdraw", "chat", "r1"), ("restore", "chat", "r1")]

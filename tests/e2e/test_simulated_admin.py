"""What callers at this machine may do with and without its admin key."""

from __future__ import annotations

import itertools
import json
import os
import stat
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from benchmarks.support.deployment import admin_headers
from serve_app.machine.serve_state import ServeState
from serve_app.tenancy.local_key import admin_key_path, kept_admin_key
from tests.e2e.support import await_two, chat, eventually, new_key, pointsman

pytestmark = pytest.mark.security

TIMES = 8
"""So often that every ingress replica is asked."""


def socket_of(url: str) -> str:
    return url.replace("http://", "ws://") + "/v1/chat/ws"


def test_status_sums_objectives_over_the_ingress_replicas(
    simulated: str, http: httpx.Client
) -> None:
    """Whichever replica answered the requests, and whichever is asked."""
    for _ in range(TIMES):
        http.post(f"{simulated}/v1/chat/completions", json=chat("Hello", max_tokens=3))

    asked = [http.get(f"{simulated}/status", headers=admin_headers()) for _ in range(TIMES)]
    for rows in (x.json()["slo"] for x in asked):
        found = {(x["objective"], x["lane"], x["tier"]): x for x in rows}
        row = found["failures", "chat", "open"]
        assert row["good"] >= TIMES
        assert row["verdict"] in ("ok", "burning", "too few requests to tell")


def test_without_a_key_one_chats_and_sees_what_a_tenant_sees(
    simulated: str, http: httpx.Client
) -> None:
    """The first curl works; the deployment's insides are for its operator."""
    answer = http.post(f"{simulated}/v1/chat/completions", json=chat("Hello", max_tokens=3))
    seen = [http.get(f"{simulated}/status").json() for _ in range(TIMES)]

    assert answer.status_code == 200
    assert all(x.keys() == {"tenant", "tier", "near_limit"} for x in seen)
    assert {x["tenant"] for x in seen} == {"local"}
    assert "pointsman_requests_total" in http.get(f"{simulated}/metrics").text


def test_without_a_key_nobody_reloads(simulated: str, http: httpx.Client) -> None:
    """The refusal says how it is done."""
    for _ in range(TIMES):
        refused = http.post(f"{simulated}/admin/reload")

        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "admin_only")
        assert "pointsman reload" in refused.text


def test_the_key_of_the_file_opens_both_at_every_ingress_replica(
    simulated: str, http: httpx.Client
) -> None:
    """It is in a file of this user's alone, and none of the replicas reads it."""
    assert stat.S_IMODE(admin_key_path().stat().st_mode) == 0o600

    headers = {"authorization": f"Bearer {kept_admin_key()}"}
    for _ in range(TIMES):
        status = http.get(f"{simulated}/status", headers=headers).json()
        reloaded = http.post(f"{simulated}/admin/reload", headers=headers).json()

        assert len(status["ingress"]) == 2
        assert reloaded["ok"]


def test_the_commands_send_it_by_themselves(simulated: str) -> None:
    """To this user's HAProxy, which the kernel says listens there."""
    assert set(pointsman("status", "--url", simulated)["lanes"]) >= {"chat", "quality"}
    assert pointsman("reload", "--url", simulated)["ok"]


@pytest.mark.slow
def test_the_doctor_asks_it_as_an_operator(simulated: str) -> None:
    """Over HTTP alone, with this machine's key: its metrics, and a few chats a lane."""
    fleet = str(Path(__file__).with_name("simulated_fleet.yaml"))
    found = pointsman("doctor", "--live", "--config", fleet, "--url", simulated)
    rows = {row["check"]: row for row in found if row["section"] == "deployment"}

    assert {name for name, row in rows.items() if not row["ok"]} == set()
    assert "2 ingress replicas and 5 lanes" in rows["metrics"]["detail"]
    # The lane with a card's model keeps prefixes; the other one has no cache.
    assert rows["prefix cache quality"]["result"] == "ok"
    assert "tokens/s by llama-3.1" not in rows["speed chat"]["detail"]
    assert "llama-3.1-8b-fp8-rtx4090" in rows["speed quality"]["detail"]


def test_a_tenant_s_key_is_no_admin_s(
    simulated: str, http: httpx.Client, tenants_file: Path
) -> None:
    """At this machine neither. It is made as people make it, in a process of its own."""
    adding = ("tenants", "add", "no-admin", "--tier", "open")
    headers = {"authorization": f"Bearer {pointsman(*adding, tenants=tenants_file)['key']}"}
    assert pointsman("reload", "--url", simulated)["ok"]

    assert http.get(f"{simulated}/metrics", headers=headers).status_code == 403
    assert http.post(f"{simulated}/admin/reload", headers=headers).status_code == 403


@pytest.mark.parametrize("path", ["/status", "/metrics"])
def test_no_page_of_another_port_reads_about_the_deployment(
    simulated: str, http: httpx.Client, path: str
) -> None:
    """Its own page does, and whoever has the key."""
    page = {"origin": "http://localhost:9999"}

    assert http.get(simulated + path, headers=page).status_code == 401
    assert http.get(simulated + path, headers={"origin": simulated}).status_code == 200
    assert http.get(simulated + path, headers={**page, **admin_headers()}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:9999", "http://127.0.0.1", "http://localhost:8000", "https://a.example"],
)
def test_a_page_of_another_origin_opens_no_socket(simulated: str, origin: str) -> None:
    """Whichever port of this machine it is from."""
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(socket_of(simulated), origin=Origin(origin)),
    ):
        pass

    response = refused.value.response
    assert response.status_code == 401
    assert json.loads(response.body or b"{}")["error"]["code"] == "invalid_api_key"


def test_who_may_open_one(simulated: str, tenants_file: Path) -> None:
    """The server's own page, what is no page, and any page with a key."""
    key = new_key(tenants_file, "page", "open", simulated)["authorization"].split()[1]
    offered = [Subprotocol("pointsman.v1"), Subprotocol(f"pointsman.key.{key}")]

    for origin, subprotocols in (
        (Origin(simulated), None),
        (None, None),
        (Origin("http://localhost:9999"), offered),
    ):
        with connect(socket_of(simulated), origin=origin, subprotocols=subprotocols) as ws:
            ws.send(json.dumps({"id": "a", "type": "chat", "body": chat("Hi", max_tokens=2)}))
            assert json.loads(ws.recv(60))["type"] == "chunk"


def test_the_key_is_in_no_log_and_no_command_line(simulated: str, http: httpx.Client) -> None:
    """After it was used, and refused in places where keys do not belong."""
    key = kept_admin_key() or ""
    http.get(f"{simulated}/status", headers={"x-api-key": key})
    assert http.get(f"{simulated}/status?key={key}").status_code == 401
    assert http.get(f"{simulated}/status", headers={"cookie": key}).status_code == 401

    logs = ServeState(simulated, Path()).logs.parent
    files = [path for path in logs.rglob("*") if path.is_file()]
    files += [*Path("/proc").glob("[0-9]*/cmdline"), *Path(os.environ["POINTSMAN_RUN"]).glob("*")]
    secret = key.rpartition("-")[2].encode()
    texts = [_read(path) for path in files]

    assert len(secret) > 40
    assert any(b"ingress" in text for text in texts)
    assert not [path for path, text in zip(files, texts, strict=True) if secret in text]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError:
        return b""


def test_a_key_of_the_admin_api_holds_at_every_ingress_replica(
    simulated: str, http: httpx.Client
) -> None:
    """Made and revoked with the answer, wherever the next request goes."""
    made = http.post(f"{simulated}/admin/keys", json={"tenant": "local"}, headers=admin_headers())
    key = {"authorization": f"Bearer {made.json()['key']}"}
    opened = {http.get(f"{simulated}/v1/models", headers=key).status_code for _ in range(TIMES)}

    revoke = f"{simulated}/admin/keys/{made.json()['id']}/revoke"
    claimed = {"x-forwarded-for": "203.0.113.9"}
    revoked = http.post(revoke, headers=admin_headers() | claimed).json()
    closed = {http.get(f"{simulated}/v1/models", headers=key).status_code for _ in range(TIMES)}

    assert len(revoked["ingress"]) == 2 and revoked["ok"]
    assert (opened, closed) == ({200}, {401})
    entries = pointsman("audit", "--url", simulated)["entries"]
    told = [x["action"] for x in entries if (x.get("after") or {}).get("id") == made.json()["id"]]
    assert told == ["keys.make"]
    assert entries[0]["who"]["key"] == "local"
    # Where it came from is what the kernel says, and what it claims is kept beside that.
    client = entries[0]["client"]
    assert (client["address"], client["forwarded_for"]) == ("127.0.0.1", "203.0.113.9")


def test_a_drained_replica_gets_no_turn_from_any_ingress_replica(
    simulated: str, http: httpx.Client
) -> None:
    """Its stream goes on; the last one of the lane is not drained; taken back it serves again."""
    drained, other = await_two(http, simulated, "chat")

    def replica_of(session: str) -> str:
        headers = {"x-session-id": session, "x-pointsman-debug": "1"}
        body = chat("Hello", max_tokens=2)
        answer = http.post(f"{simulated}/v1/chat/completions", json=body, headers=headers)
        return answer.headers["x-pointsman-replica"]

    sessions = [f"drain-{number}" for number in range(4 * TIMES)]
    assert {replica_of(x) for x in sessions} == {drained, other}

    told = pointsman("drain", drained, "--url", simulated)
    assert told["draining"] and told["ok"] and len(told["ingress"]) == 2
    assert {replica_of(x) for x in sessions} == {other}
    rows = {x["replica"]: x["draining"] for x in pointsman("drain", "--url", simulated)}
    assert rows[drained] and not rows[other]
    path = f"{simulated}/admin/replicas/{other}/drain"
    assert http.post(path, headers=admin_headers()).status_code == 409

    assert not pointsman("drain", drained, "--undo", "--url", simulated)["draining"]
    new = (f"again-{number}" for number in itertools.count())
    assert eventually(lambda: replica_of(next(new)) == drained, within_s=60)

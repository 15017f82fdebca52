"""Who gets to the admin API, from which page, and what the audit trail has of it."""

import asyncio

import pytest

from serve_app.admin import keys
from serve_app.admin.browser_guard import refuse_host, refuse_page
from serve_app.tenancy.auth import make_key
from serve_app.tenancy.callers import caller_of
from tests.unit.serve_app.admin.conftest import key_id

pytestmark = pytest.mark.security

OWN = {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}
CONSOLE = {**OWN, "x-pointsman-console": "1"}

CHANGES = [
    ("POST", "/admin/reload"),
    ("POST", "/admin/keys"),
    ("POST", "/admin/keys/abcd/revoke"),
    ("PUT", "/admin/ceilings/acme"),
    ("POST", "/admin/replicas/r1/drain"),
    ("POST", "/admin/replicas/r1/undrain"),
    ("POST", "/admin/tools/promote"),
    ("POST", "/admin/tools/rollback"),
    ("POST", "/admin/tools/retire"),
]
READS = [
    "/admin/keys",
    "/admin/ceilings",
    "/admin/ceilings/acme",
    "/admin/replicas",
    "/admin/audit",
]


async def test_nobody_but_an_admin_gets_in(deployment):
    """Neither a tenant's key, nor nobody at this machine, nor a wrong one."""
    for method, path in [*CHANGES, *(("GET", x) for x in READS)]:
        tenant = await deployment.ask(method, path, "acme")
        nobody = await deployment.ask(method, path, None)
        wrong = await deployment.ask(method, path, "pm-000000000000-wrong")

        assert (tenant.status_code, tenant.json()["error"]["code"]) == (403, "admin_only"), path
        assert (nobody.status_code, wrong.status_code) == (401, 401), path


FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    # Another port of this machine is another page; CORS lets it read, nothing lets it act.
    {"origin": "http://localhost:9999"},
    {"origin": "http://127.0.0.1:8000"},
    {**CONSOLE, "origin": "http://localhost:9999"},
    {**CONSOLE, "sec-fetch-site": "cross-site"},
    {**CONSOLE, "sec-fetch-site": "same-site"},
    {**CONSOLE, "sec-fetch-site": "none"},
    # Its own page, by a form or a request that needs no script of ours.
    OWN,
    {"sec-fetch-site": "same-origin"},
    # DNS rebinding: page and host agree, and neither is this machine.
    {**CONSOLE, "host": "evil.example", "origin": "http://evil.example"},
]


async def test_no_page_but_the_console_changes_anything_even_with_the_key(deployment):
    before = deployment.tenants.read_bytes()
    for headers in FOREIGN:
        for method, path in CHANGES:
            refused = await deployment.ask(method, path, headers=headers, json={"tenant": "acme"})
            assert refused.status_code == 403, (path, headers)

    assert deployment.tenants.read_bytes() == before
    assert len((await deployment.ask("GET", "/admin/keys")).json()["keys"]) == 3


async def test_the_console_and_commands_do(deployment):
    body = {"tenant": "acme"}

    console = await deployment.ask("POST", "/admin/keys", headers=CONSOLE, json=body)
    command = await deployment.ask("POST", "/admin/keys", json=body)
    bare = await deployment.ask("POST", "/admin/reload")

    assert [x.status_code for x in (console, command, bare)] == [200, 200, 200]


async def test_a_body_that_a_form_could_send_is_refused(deployment):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None):
        headers = {"content-type": kind} if kind else {}

        refused = await deployment.ask(
            "POST", "/admin/keys", headers=headers, content=b'{"tenant": "acme"}'
        )

        assert refused.status_code == 415
        assert "application/json" in refused.json()["error"]["message"]


async def test_a_rebound_name_reads_nothing_either(deployment):
    headers = {"host": "evil.example", "sec-fetch-site": "same-origin"}

    for path in READS:
        assert (await deployment.ask("GET", path, headers=headers)).status_code == 403


@pytest.mark.parametrize(
    ("host", "more", "is_private", "allowed", "is_refused"),
    [
        (b"localhost:8000", {}, True, (), False),
        (b"evil.example", {}, True, (), True),
        # A front that passes the name on says that it is one.
        (b"api.example", {b"x-forwarded-for": b"1.2.3.4"}, True, (), False),
        (b"api.example", {}, True, ("https://api.example",), False),
        # What listens for others has another name than this machine's.
        (b"api.example", {}, False, (), False),
    ],
)
def test_which_names_a_page_may_be_opened_by(host, more, is_private, allowed, is_refused):
    headers = {b"host": host, b"origin": b"http://" + host, **more}
    caller = caller_of({"path": "/", "headers": list(headers.items()), "client": ("127.0.0.1", 1)})

    refused = refuse_host(headers, caller, allowed, is_private=is_private)

    assert (refused is not None) == is_refused
    assert refuse_page({**headers, b"x-pointsman-console": b"1"}, caller) is None


async def test_every_change_is_in_the_trail_with_who_and_what(deployment):
    etag = (await deployment.ask("GET", "/admin/ceilings/acme")).json()["etag"]
    made = (await deployment.ask("POST", "/admin/keys", json={"tenant": "acme"})).json()
    await deployment.ask(
        "PUT", "/admin/ceilings/acme", headers={"if-match": etag}, json={"tokens_per_minute": 9}
    )
    await deployment.ask("POST", f"/admin/keys/{made['id']}/revoke", key="local")
    await deployment.ask("POST", "/admin/reload")

    trail = await deployment.audit()

    told = [(x["action"], x["outcome"], x.get("target")) for x in trail]
    assert told == [
        ("reload", "done", None),
        ("keys.revoke", "done", made["id"]),
        ("ceilings.set", "done", "acme"),
        ("keys.make", "done", "acme"),
    ]
    mine = key_id(deployment.keys["admin"])
    assert [x["who"]["key"] for x in trail] == [mine, "local", mine, mine]
    assert trail[2]["before"] == {} and trail[2]["after"] == {"tokens_per_minute": 9}
    assert trail[3]["after"]["id"] == made["id"]
    assert {x["client"]["address"] for x in trail} == {"127.0.0.1"}


async def test_who_was_refused_is_in_it_without_the_key(deployment):
    await deployment.ask("GET", "/admin/keys", "pm-000000000000-wrong")
    await deployment.ask("POST", "/admin/keys", "acme", json={"tenant": "acme", "admin": True})
    await deployment.ask("POST", "/admin/reload", headers={"origin": "https://evil.example"})

    page, tenant, nobody = await deployment.audit()

    assert {x["outcome"] for x in (page, tenant, nobody)} == {"refused"}
    assert nobody["who"] == {"key": None, "tenant": None} and nobody["status"] == 401
    assert tenant["who"] == {"key": key_id(deployment.keys["acme"]), "tenant": "acme"}
    assert page["client"]["origin"] == "https://evil.example"
    folder = deployment.state / "audit"
    kept = "".join(x.read_text() for x in folder.glob("audit.jsonl*"))
    assert "wrong" not in kept
    assert not any(key in kept for key in deployment.keys.values())


async def test_a_flood_of_refusals_does_not_fill_the_trail(deployment):
    await deployment.ask("POST", "/admin/reload")
    for _ in range(200):
        await deployment.ask("GET", "/admin/keys", "acme")

    trail = await deployment.audit(limit=500)

    assert len(trail) < 40
    assert trail[-1]["action"] == "reload"


async def test_who_leaves_in_the_middle_does_not_leave_a_change_without_an_entry(
    deployment, call_raw, monkeypatch
):
    """The client is gone while its key is being made: it is made, and it is noted."""
    key = deployment.keys["admin"].encode()
    headers = [(b"authorization", b"Bearer " + key), (b"content-type", b"application/json")]
    body = {"type": "http.request", "body": b'{"tenant": "acme"}'}
    scope = {
        "path": "/admin/keys",
        "headers": [*headers, (b"content-length", b"18"), (b"host", b"localhost")],
    }
    scope |= {"query_string": b"", "http_version": "1.1", "raw_path": b"/admin/keys"}

    begun = asyncio.Event()

    def make(**rights):
        begun.set()
        return make_key(**rights)

    monkeypatch.setattr(keys, "make_key", make)

    task = asyncio.ensure_future(call_raw(deployment.app, [body], **scope))
    await asyncio.wait_for(begun.wait(), 20)
    task.cancel()
    async with asyncio.timeout(20):
        while not (trail := await deployment.audit()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    listed = (await deployment.ask("GET", "/admin/keys?tenant=acme")).json()["keys"]
    assert [x["id"] for x in listed if x["kept_in"] == "store"] == [trail[0]["after"]["id"]]

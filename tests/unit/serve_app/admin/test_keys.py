"""Keys over the admin API: made and shown once, listed without a secret, revoked at once."""

import pytest

from tests.unit.serve_app.admin.conftest import key_id

pytestmark = pytest.mark.security


async def test_a_key_is_shown_once_and_works_at_once(deployment):
    made = (await deployment.ask("POST", "/admin/keys", json={"tenant": "acme", "days": 7})).json()
    listed = await deployment.ask("GET", "/admin/keys?tenant=acme")
    answer = await deployment.chat(made["key"])
    audit = await deployment.audit()

    assert made["ok"] and made["key"].startswith(f"pm-{made['id']}-")
    assert answer.status_code == 200
    secret = made["key"].split("-", 2)[2]
    assert secret not in listed.text and secret not in str(audit)
    row = next(x for x in listed.json()["keys"] if x["id"] == made["id"])
    assert (row["tenant"], row["state"], row["kept_in"]) == ("acme", "valid", "store")
    assert row["expires"] == made["expires"] and row["used_at"] is None
    assert not {"hash", "salt", "key"} & row.keys()


async def test_the_list_tells_when_a_key_was_used(deployment):
    await deployment.chat("rival")

    keys = (await deployment.ask("GET", "/admin/keys")).json()["keys"]

    used = {x["tenant"]: x["used_at"] for x in keys}
    assert used["rival"] is not None and used["ops"] is not None
    assert used["acme"] is None


async def test_a_revoked_key_opens_nothing_from_the_answer_on(deployment):
    made = (await deployment.ask("POST", "/admin/keys", json={"tenant": "acme"})).json()

    told = (await deployment.ask("POST", f"/admin/keys/{made['id']}/revoke")).json()

    assert told["ok"] and told["tenant"] == "acme"
    assert (await deployment.chat(made["key"])).status_code == 401
    keys = (await deployment.ask("GET", "/admin/keys")).json()["keys"]
    assert next(x for x in keys if x["id"] == made["id"])["state"] == "revoked"


async def test_a_key_of_the_file_is_taken_out_of_it_too(deployment):
    """A lost store would bring it back otherwise."""
    lost = key_id(deployment.keys["rival"])

    told = (await deployment.ask("POST", f"/admin/keys/{lost}/revoke")).json()

    assert told["ok"] and told["note"] == ""
    assert lost not in deployment.tenants.read_text()
    assert (await deployment.chat("rival")).status_code == 401


async def test_a_new_tenant_comes_with_its_first_key(deployment):
    """Written into the file, and known without a restart."""
    asked = {"tenant": "newcomer", "tier": "free"}

    made = (await deployment.ask("POST", "/admin/keys", json=asked)).json()

    assert made["new_tenant"]
    assert "newcomer" in deployment.tenants.read_text()
    assert "# The operator's own words." in deployment.tenants.read_text()
    assert (await deployment.chat(made["key"])).status_code == 200


WRONG = [
    ({"tenant": "acne"}, "did you mean 'acme'"),
    ({"tenant": "new", "tier": "payed"}, "did you mean 'paid'"),
    ({"tenant": "acme", "tier": "free"}, "a tenant's tier changes in the tenants file"),
    ({"tenant": "acme", "days": 0}, "days"),
    ({"tenant": "acme", "admins": True}, "did you mean 'admin'"),
    ({}, "tenant"),
    ([], "JSON object"),
]


async def test_what_cannot_be_made_is_told_and_nothing_is_written(deployment):
    before = deployment.tenants.read_bytes()
    for body, told in WRONG:
        refused = await deployment.ask("POST", "/admin/keys", json=body)

        assert refused.status_code == 400, body
        assert told in refused.json()["error"]["message"]
    assert deployment.tenants.read_bytes() == before


async def test_a_key_in_a_body_is_not_kept_in_the_trail(deployment):
    """Somebody pastes one where an id belongs."""
    key = deployment.keys["acme"]
    await deployment.ask("POST", "/admin/keys", json={"tenant": key, "tier": "free"})

    assert key.split("-", 2)[2] not in str(await deployment.audit())


async def test_whoever_would_lock_themself_out_says_so(deployment):
    path = f"/admin/keys/{key_id(deployment.keys['admin'])}/revoke"

    refused = await deployment.ask("POST", path)
    forced = await deployment.ask("POST", path, json={"force": True})

    assert refused.status_code == 409 and refused.json()["error"]["param"] == "force"
    assert forced.status_code == 200
    assert (await deployment.ask("GET", "/admin/keys")).status_code == 401


async def test_a_key_that_there_is_not_is_a_404(deployment):
    assert (await deployment.ask("POST", "/admin/keys/nobody/revoke")).status_code == 404


async def test_a_new_tenant_needs_a_file_that_is_ours(deployment):
    """Nothing is made for a tenant that cannot be."""
    deployment.tenants.with_name(f".{deployment.tenants.name}.partial").mkdir()

    refused = await deployment.ask("POST", "/admin/keys", json={"tenant": "new", "tier": "free"})

    assert refused.status_code == 409
    assert "cannot be written from here" in refused.json()["error"]["message"]
    assert len((await deployment.ask("GET", "/admin/keys")).json()["keys"]) == 3

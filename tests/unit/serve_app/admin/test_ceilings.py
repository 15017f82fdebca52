"""Ceilings over the admin API: for the file that was read, and in force everywhere or told."""

import asyncio

LIMITS = {"tokens_per_minute": None, "requests_per_minute": 1}


async def read(deployment, tenant="acme"):
    return (await deployment.ask("GET", f"/admin/ceilings/{tenant}")).json()


async def put(deployment, body, etag, tenant="acme"):
    headers = {} if etag is None else {"if-match": f'"{etag}"'}
    return await deployment.ask("PUT", f"/admin/ceilings/{tenant}", headers=headers, json=body)


async def test_a_tenant_s_own_ceilings_are_in_force_with_the_answer(deployment):
    before = await read(deployment)

    told = await put(deployment, LIMITS, before["etag"])

    body = told.json()
    assert body["ok"] and (body["before"], body["after"]) == ({}, LIMITS)
    assert body["ingress"][0]["in_force"]["tokens_per_minute"] is None
    assert body["ingress"][0]["in_force"]["requests_per_minute"] == 1
    assert told.headers["etag"] == f'"{body["etag"]}"' != f'"{before["etag"]}"'
    codes = [(await deployment.chat("acme")).status_code for _ in range(2)]
    assert codes == [200, 429]
    assert (await deployment.chat("rival")).status_code == 200
    assert "# The operator's own words." in deployment.tenants.read_text()


async def test_own_ceilings_are_taken_back(deployment):
    """Then the tier's hold again."""
    told = (await put(deployment, LIMITS, (await read(deployment))["etag"])).json()
    told = (await put(deployment, {}, told["etag"])).json()

    assert told["after"] == {}
    assert told["ingress"][0]["in_force"]["tokens_per_minute"] == 100_000


async def test_of_two_editors_the_second_is_told(deployment):
    """Nothing of the first one's is overwritten."""
    etag = (await read(deployment))["etag"]
    one, two = await asyncio.gather(
        put(deployment, {"tokens_per_minute": 7}, etag),
        put(deployment, {"tokens_per_minute": 8}, etag),
    )

    assert sorted(x.status_code for x in (one, two)) == [200, 412]
    won = next(x for x in (one, two) if x.status_code == 200).json()
    assert (await read(deployment))["own"] == won["after"]


async def test_without_the_tag_of_what_was_read_nothing_is_set(deployment):
    refused = await put(deployment, LIMITS, None)

    assert refused.status_code == 428
    assert "If-Match" in refused.json()["error"]["message"]


WRONG = [
    (b'{"token_per_minute": 5}', "did you mean 'tokens_per_minute'"),
    (b'{"tokens_per_minute": 0}', "greater than 0"),
    (b'{"tokens_per_minute": "many"}', "tokens_per_minute"),
    (b'{"enforce": "sometimes"}', "enforce"),
    (b'{"weights": {"prompt": -1}}', "weights"),
    (b'{"tokens_per_day": 1e999}', ""),
    (b"[1]", "JSON object"),
]


async def test_what_is_no_ceiling_is_told_and_nothing_is_written(deployment):
    before = deployment.tenants.read_bytes()
    headers = {"if-match": (await read(deployment))["etag"], "content-type": "application/json"}
    for body, told in WRONG:
        path = "/admin/ceilings/acme"
        refused = await deployment.ask("PUT", path, headers=headers, content=body)

        assert refused.status_code == 400, body
        assert told in refused.json()["error"]["message"]
    assert deployment.tenants.read_bytes() == before


async def test_a_file_that_is_not_ours_to_write_is_said_to_be_so(deployment):
    """A ConfigMap, or a read-only mount."""
    partial = deployment.tenants.with_name(f".{deployment.tenants.name}.partial")
    partial.mkdir()

    refused = await put(deployment, LIMITS, (await read(deployment))["etag"])

    assert refused.status_code == 409
    assert "cannot be written from here" in refused.json()["error"]["message"]
    assert (await read(deployment))["own"] == {}


async def test_a_file_that_is_broken_elsewhere_is_told(deployment):
    """Somebody is in the middle of an edit: nothing is written over it."""
    etag = (await read(deployment))["etag"]
    text = deployment.tenants.read_text() + "tiers: {}\n"
    deployment.tenants.write_text(text)

    refused = await put(deployment, LIMITS, etag)

    assert refused.status_code in (409, 412)
    assert deployment.tenants.read_text() == text


async def test_what_an_ingress_replica_refuses_is_in_the_answer(deployment):
    """The file is written, and is not in force: the answer says both."""
    text = deployment.tenants.read_text() + "store: {path: elsewhere.db}\n"
    deployment.tenants.write_text(text)

    told = (await put(deployment, LIMITS, (await read(deployment))["etag"])).json()

    assert not told["ok"] and told["after"] == LIMITS
    assert "store changed" in told["ingress"][0]["error"]
    assert told["ingress"][0]["in_force"]["tokens_per_minute"] == 100_000
    assert (await deployment.audit())[0]["outcome"] == "failed"


async def test_tenants_are_found_by_a_part_of_their_names(deployment):
    found = (await deployment.ask("GET", "/admin/ceilings?search=AC")).json()
    few = (await deployment.ask("GET", "/admin/ceilings?limit=1")).json()

    assert [x["tenant"] for x in found["tenants"]] == ["acme"]
    assert found["tenants"][0]["of_tier"]["tokens_per_minute"] == 100_000
    assert found["cannot_write"] == ""
    assert len(few["tenants"]) == 1 and few["left_out"] == 2


async def test_a_tenant_that_there_is_not_is_a_404(deployment):
    assert (await deployment.ask("GET", "/admin/ceilings/nobody")).status_code == 404
    etag = (await read(deployment))["etag"]
    assert (await put(deployment, {}, etag, "nobody")).status_code == 404


def test_the_file_is_parsed_once_for_each_state_of_it(tmp_path, monkeypatch):
    from serve_app.admin import tenants_reading
    from serve_app.config.settings import load_tenants

    path, parsed = tmp_path / "tenants.yaml", []

    def load(file):
        parsed.append(file)
        return load_tenants(file)

    monkeypatch.setattr(tenants_reading, "load_tenants", load)
    path.write_text("tiers: {a: {}}\n")
    reading = tenants_reading.TenantsReading(path)

    first, again = reading.read(), reading.read()
    path.write_text("tiers: {a: {}, b: {}}\n")
    second = reading.read()

    assert first is again and len(parsed) == 2
    assert first[0] != second[0] and list(second[1].tiers) == ["a", "b"]

"""The page's files, and how they are served."""

import re

import pytest

from serve_app.console.assets import STATIC, Assets, assets
from serve_app.front.console_routes import HARDENED

SCRIPTS = sorted(STATIC.rglob("*.js"))


async def get(world, path, **headers):
    async with world.client() as client:
        return await client.get(path, headers=headers)


async def test_the_page_is_open_and_may_load_nothing_but_its_own_files(world):
    async with world.client(host="10.1.2.3") as client:
        answer = await client.get("/console")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    for name, value in HARDENED:
        assert answer.headers[name.decode()] == value.decode()


async def test_the_page_names_its_files_by_version_and_they_are_kept_for_ever(world):
    page = await get(world, "/console")
    names = re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page.text)

    assert len(names) >= 4
    for name in names:
        answer = await get(world, name)
        assert answer.status_code == 200, name
        assert "immutable" in answer.headers["cache-control"]
        assert assets().version in name


async def test_the_page_itself_and_files_without_a_version_are_asked_for_again(world):
    for path in ("/console", "/console/static/shell.js"):
        answer = await get(world, path)
        assert answer.headers["cache-control"] == "no-cache"
        again = await get(world, path, **{"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == answer.headers["etag"]


async def test_a_page_of_an_older_version_still_gets_files(world):
    answer = await get(world, "/console/static/0123456789ab/tabs/fleet.js")

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "name", ["nothing.js", "../assets.py", "..%2fassets.py", "tabs/", "", "index.html", "shell.py"]
)
async def test_nothing_but_the_files_is_served(world, name):
    answer = await get(world, f"/console/static/{name}")

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "invalid_request"


async def test_a_head_request_has_the_headers_alone(world):
    async with world.client() as client:
        answer = await client.head("/console")

    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == len(assets().page.body)


async def test_the_routes_take_no_other_methods(world):
    async with world.client() as client:
        for path in ("/console", "/console/feed", "/console/static/shell.js"):
            answer = await client.post(path)
            assert answer.status_code == 405
            assert "GET" in answer.headers["allow"]


async def test_the_front_page_leads_there(world):
    answer = await get(world, "/", accept="text/html")

    assert '<a href="/console">' in answer.text


def test_nothing_in_the_files_is_from_elsewhere_or_inline():
    page = (STATIC / "index.html").read_text()

    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"\son\w+=|style=", page)
    for path in SCRIPTS:
        text = path.read_text()
        found = re.findall(r"https?://[^\"'` )]+", text)
        assert set(found) <= {"http://www.w3.org/2000/svg"}, path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_every_module_that_is_imported_is_there():
    for path in SCRIPTS:
        for name in re.findall(r'^import .*from "(\.[^"]+)";', path.read_text(), re.MULTILINE):
            assert (path.parent / name).resolve().is_file(), (path, name)


def test_the_version_follows_the_files(tmp_path):
    (tmp_path / "index.html").write_text('<script src="/console/static/a.js">')
    (tmp_path / "a.js").write_text("one")
    first = Assets(tmp_path)
    (tmp_path / "a.js").write_text("two")
    second = Assets(tmp_path)

    assert first.version != second.version
    assert b"/console/static/%s/a.js" % second.version.encode() in second.page.body
    found, is_of_version = second.find(f"{second.version}/a.js")
    assert found is not None and found.body == b"two" and is_of_version

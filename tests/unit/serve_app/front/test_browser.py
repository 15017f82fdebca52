"""A page in a real browser: Chromium, where it is installed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess

import pytest
import uvicorn

from tests.unit.serve_app.front.test_cors import allow

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium")

WAIT_S = 120.0
"""Until the page has told what it found: a browser starts slowly on a busy machine."""

EVENTS = [
    b'data: {"object":"chat.completion.chunk","choices":[{"delta":{"content":"%s"}}]}\n\n' % word
    for word in (b"one ", b"two ", b"three")
]

PAGE = """<!doctype html><script>
const api = "API", key = "KEY";
async function look(what) {
  try { return await what(); } catch (error) { return "blocked: " + error.name; }
}
async function models() {
  const answer = await fetch(api + "/v1/models", {headers: key ? {"x-api-key": key} : {}});
  const body = await answer.json();
  return [answer.status, body.data ? body.data[0].id : body.error.message];
}
async function chat() {
  const headers = {"content-type": "application/json", "x-stainless-os": "Linux",
                   "authorization": "Bearer " + (key || "none"), "x-session-id": "page"};
  const body = JSON.stringify({stream: true, messages: [{role: "user", content: "Hi"}]});
  const answer = await fetch(api + "/v1/chat/completions", {method: "POST", headers, body});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part; !(part = await reader.read()).done;) text += part.value;
  return [answer.status, answer.headers.get("x-pointsman-lane"),
          answer.headers.get("x-session-id"), text];
}
(async () => {
  const found = {origin: location.origin, models: await look(models), chat: await look(chat)};
  await fetch("/found", {method: "POST", body: JSON.stringify(found)});
})();
</script>"""


@contextlib.asynccontextmanager
async def listening(app):
    """An ASGI app on a port of this machine."""
    at = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[at]))
    yield at.getsockname()[1]
    server.should_exit = server.force_exit = True
    await task


def page_app(page: str, found: asyncio.Future):
    """Serves the page, and takes what it found."""

    async def app(scope, receive, send):
        body = page.encode()
        if scope["method"] == "POST":
            message = await receive()
            found.set_result(json.loads(message["body"]))
            body = b""
        kind = [(b"content-type", b"text/html")]
        await send({"type": "http.response.start", "status": 200, "headers": kind})
        await send({"type": "http.response.body", "body": body})

    return app


async def visit(folder, gateway, host: str, key: str = "", named=lambda origin: None) -> dict:
    """What a page of `http://HOST:PORT` finds when it calls the gateway."""
    found = asyncio.get_running_loop().create_future()
    async with listening(gateway) as api:
        page = PAGE.replace("API", f"http://127.0.0.1:{api}").replace("KEY", key)
        async with listening(page_app(page, found)) as site:
            named(f"http://{host}:{site}")
            browser = subprocess.Popen(  # noqa: ASYNC220
                [
                    CHROMIUM,
                    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
                    *("--no-first-run", "--disable-background-networking", "--disable-sync"),
                    *("--disable-component-update", f"--user-data-dir={folder / 'profile'}"),
                    f"--host-resolver-rules=MAP {host} 127.0.0.1",
                    "--remote-debugging-port=0",
                    f"http://{host}:{site}/",
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                async with asyncio.timeout(WAIT_S):
                    return await found
            finally:
                browser.kill()
                browser.wait()


@pytest.fixture
def answers(world, stream):
    """The engine answers one chat, in a few events."""
    world.lanes.answers = [stream(*EVENTS, b"data: [DONE]\n\n")]


async def test_a_page_of_this_machine_lists_models_and_reads_a_stream(world, answers, tmp_path):
    """Without a key or a setting: a preflighted POST, its events and its headers."""
    found = await visit(tmp_path, world.gateway, "localhost")

    assert found["models"] == [200, "auto"]
    status, lane, session, text = found["chat"]
    assert (status, lane, session) == (200, "chat", "page")
    assert text.count("data: ") >= 2
    assert text.endswith("data: [DONE]\n\n")


async def test_a_page_from_elsewhere_reads_nothing(world, answers, tmp_path):
    """The browser keeps the answers from it, and no engine was asked."""
    found = await visit(tmp_path, world.gateway, "elsewhere.example")

    assert found["models"] == found["chat"] == "blocked: TypeError"
    assert world.lanes.opened == []


async def test_a_named_page_reads_with_a_key(world, answers, tmp_path):
    """As any client from elsewhere."""
    found = await visit(
        tmp_path,
        world.gateway,
        "elsewhere.example",
        world.keys["acme"],
        lambda origin: allow(world, origin),
    )

    assert found["models"] == [200, "auto"]
    assert found["chat"][0] == 200


async def test_a_named_page_without_a_key_is_told_that_its_origin_is_why(world, tmp_path):
    """It can read the refusal."""
    found = await visit(
        tmp_path, world.gateway, "elsewhere.example", named=lambda origin: allow(world, origin)
    )

    status, message = found["models"]
    assert status == 401
    assert "Origin" in message

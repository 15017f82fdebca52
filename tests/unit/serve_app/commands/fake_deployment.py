"""A deployment that answers from a table, on a port and a thread of its own."""

import asyncio
import contextlib
import threading

from aiohttp import web

MODELS = {"chat": "small", "quality": "large", "judge": "referee"}


class FakeDeployment:
    """Two lanes and a judge; `answer(lane, body)` makes every answer.

    An answer is a text, calls as a list of (name, arguments), or a whole `web.Response`. `seen`
    holds the bodies by lane; `status` is what `/status` says, None: it is refused.
    """

    def __init__(self) -> None:
        self.url = ""
        self.answer = lambda lane, body: "fine"
        self.models = dict(MODELS)
        self.seen = []
        self.headers = []
        self.open = self.most_open = 0
        self.hold_s = 0.0
        self.status = {"fleet": "fake", "lanes": {}, "ingress": [], "slo": []}
        self.looks = 0

    def bodies(self, lane):
        return [body for body in self.seen if body["model"] == lane]

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/models", self._list)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/status", self._status)
        return app

    async def _list(self, request) -> web.Response:
        names = {"auto": None} | {lane: lane for lane in self.models}
        names |= {model: lane for lane, model in self.models.items()}
        data = [{"id": name} | ({"lane": lane} if lane else {}) for name, lane in names.items()]
        return web.json_response({"object": "list", "data": data})

    async def _status(self, request) -> web.Response:
        self.looks += 1
        told = self.status() if callable(self.status) else self.status
        return refusal(403, "admin_only") if told is None else web.json_response(told)

    async def _chat(self, request) -> web.Response:
        body = await request.json()
        self.seen.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await asyncio.sleep(self.hold_s)
            made = self.answer(body["model"], body)
        finally:
            self.open -= 1
        return made if isinstance(made, web.Response) else self.said(body["model"], made)

    def said(self, lane, text, finish="stop", **headers) -> web.Response:
        message = {"role": "assistant", "content": text}
        if isinstance(text, list):
            calls = [
                {"type": "function", "function": {"name": name, "arguments": arguments}}
                for name, arguments in text
            ]
            message |= {"content": None, "tool_calls": calls}
        choice = {"index": 0, "message": message}
        return web.json_response(
            {"choices": [choice | {"finish_reason": finish}]},
            headers={
                "x-pointsman-lane": lane,
                "x-pointsman-model": self.models[lane],
                **headers,
            },
        )


def refusal(status, code, retry_after=None) -> web.Response:
    """An error in the deployment's form; its text must never be shown."""
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    error = {"message": "the prompt was: secret plans", "type": "x", "param": None, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)


@contextlib.contextmanager
def serving(fake):
    """Serve on a thread, so that a command can run its own event loop."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(fake.app())

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield fake
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()

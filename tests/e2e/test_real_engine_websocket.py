"""Chats on a socket of a real engine."""

from __future__ import annotations

import json
from typing import Any

import httpx
from websockets.sync.client import connect

from tests.e2e.streams import STORIES, begin, stories, text_of
from tests.e2e.support import eventually, is_idle


def test_a_socket_says_what_http_says(real: str, http: httpx.Client) -> None:
    """Two chats on one socket, word for word; a cancelled third leaves the engine idle."""
    expected = stories(real, 24)[:2]
    begin(expected)
    frames: dict[str, list[dict[str, Any]]] = {"0": [], "1": [], "long": []}

    with connect(f"{real.replace('http', 'ws')}/v1/chat/ws") as ws:
        for name, body, tokens in (
            ("0", STORIES[0], 24),
            ("1", STORIES[1], 24),
            ("long", STORIES[2], 1500),
        ):
            asked = {**body, "max_tokens": tokens}
            ws.send(json.dumps({"id": name, "type": "chat", "body": asked}))
        while any(not seen or seen[-1]["type"] == "chunk" for seen in frames.values()):
            frame = json.loads(ws.recv(timeout=60))
            frames[frame["id"]].append(frame)
            if frame["id"] == "long" and len(frames["long"]) == 3:
                ws.send(json.dumps({"id": "long", "type": "cancel"}))

    said = [text_of(f["data"] for f in frames[n] if f["type"] == "chunk") for n in ("0", "1")]
    assert said == [stream.whole()[0] for stream in expected]
    assert frames["long"][-1]["cancelled"]
    eventually(lambda: is_idle(http, real))

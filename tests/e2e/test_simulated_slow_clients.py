"""Clients that send slowly: what they are told, and what others notice."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.support import chat, eventually, new_key, status_of

pytestmark = [pytest.mark.security, pytest.mark.busy]

CHAT = "/v1/chat/completions"
WHOLE = json.dumps(chat("Say hi.", max_tokens=4)).encode()


class Upload:
    """One request on a connection of its own, whose body is sent by hand."""

    def __init__(self, path: str = CHAT, length: int = len(WHOLE), **headers: str) -> None:
        lines = {"host": "localhost", "content-length": str(length), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.socket = socket.create_connection(("127.0.0.1", 8000), timeout=60)
        self.say(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode())

    def say(self, data: bytes) -> None:
        """Send more."""
        self.socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and whole body of the answer."""
        with self.socket.makefile("rb") as file:
            status = int(file.readline().split()[1])
            pairs = (line.decode().split(":", 1) for line in iter(file.readline, b"\r\n"))
            headers = {name.lower(): value.strip() for name, value in pairs}
            return status, headers, file.read(int(headers["content-length"]))


def code_of(body: bytes) -> str:
    """The error's code."""
    return str(json.loads(body)["error"]["code"])


def arriving(http: httpx.Client, url: str) -> int:
    """Bodies that the ingress replicas wait for."""
    return sum(row["uploads"] for row in status_of(http, url).get("ingress", [{"uploads": -1}]))


def refused_upload(path: str, key: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """The answer to a body that never comes, of a tenant that has spent its minute.

    A request every half a minute is let in, and is told after its silence that it did not come.
    """
    for _ in range(3):
        upload = Upload(path, length=1_000_000, **key)
        answer = upload.answer()
        upload.socket.close()
        if answer[0] == 429:
            break
    return answer


@contextlib.contextmanager
def held(count: int, key: dict[str, str]) -> Iterator[list[Upload]]:
    """Requests of which half a body has come."""
    uploads = [Upload(**key) for _ in range(count)]
    try:
        for upload in uploads:
            upload.say(WHOLE[:5])
        yield uploads
    finally:
        for upload in uploads:
            upload.socket.close()


def test_a_tenant_fills_what_it_may_have_and_others_are_answered(
    simulated: str, tenants_file: Path, http: httpx.Client
) -> None:
    """Two at once for it, bodies on their way among them, over both ingress replicas."""
    key = new_key(tenants_file, "uploader", "two_at_once", simulated)
    with held(2, key) as uploads:
        eventually(lambda: arriving(http, simulated) == 2)
        third = Upload(**key)
        status, headers, body = third.answer()
        third.socket.close()
        assert (status, code_of(body)) == (429, "tenant_concurrency")
        assert int(headers["retry-after"]) >= 1
        others = http.post(f"{simulated}{CHAT}", json=chat("Say hi.", max_tokens=4))
        assert others.status_code == 200
        for upload in uploads:
            upload.say(WHOLE[5:])
        assert [upload.answer()[0] for upload in uploads] == [200, 200]
    eventually(lambda: arriving(http, simulated) == 0)


def test_over_the_rate_the_answer_does_not_wait_for_the_body(
    simulated: str, tenants_file: Path, http: httpx.Client
) -> None:
    """What is left of the minute is told; every route that counts is over it."""
    key = new_key(tenants_file, "hasty", "two_a_minute", simulated)

    def spent() -> bool:
        answer = http.get(f"{simulated}/v1/models", headers=key)
        return answer.status_code == 429

    eventually(spent)
    for path in (CHAT, "/v1/messages/count_tokens", "/v1/route", "/v1/feedback"):
        status, headers, body = refused_upload(path, key)
        assert (status, code_of(body)) == (429, "request_rate")
        assert headers["x-ratelimit-limit-requests"] == "2"
        assert int(headers["retry-after"]) >= 1
    for method, path in (("GET", "/v1/models/auto"), ("HEAD", "/v1/models")):
        eventually(
            lambda method=method, path=path: (
                http.request(method, f"{simulated}{path}", headers=key).status_code == 429
            )
        )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer pm-nobody"}, 401),
        ({"content-encoding": "lzma"}, 415),
        ({"content-length": str(2**40)}, 413),
    ],
)
def test_who_is_refused_at_the_header_is_told_while_sending(
    simulated: str, headers: dict[str, str], status: int
) -> None:
    """A client that sends much first reads its answer afterwards all the same."""
    upload = Upload(**{"content-length": "400000", **headers})
    with contextlib.closing(upload.socket):
        for _ in range(100):
            upload.say(b"x" * 4_000)

        assert upload.answer()[0] == status


def test_after_a_small_body_that_nobody_read_the_connection_goes_on(simulated: str) -> None:
    upload = Upload(length=3, authorization="Bearer pm-nobody")
    with contextlib.closing(upload.socket):
        upload.say(b"{ }")
        assert upload.answer()[0] == 401
        upload.say(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert upload.answer()[0] == 200

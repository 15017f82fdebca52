"""Compressed request bodies: read within the bound of any body, or refused with a reason."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import zlib

import pyarrow as pa
import pytest

from serve_app.protocol import encodings
from serve_app.protocol.encodings import MAX_MEMBERS, decode

pytestmark = pytest.mark.security

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
RAW = json.dumps(HELLO).encode()
MIB = 1 << 20


def raw_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(data) + made.flush()


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


def brotli(data: bytes) -> bytes:
    return pa.Codec("brotli").compress(data, asbytes=True)


async def post(world, content, coding, path=CHAT, **headers):
    async with world.client() as client:
        return await client.post(
            path, content=content, headers={"content-encoding": coding, **headers}
        )


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("x-gzip", gzip.compress),
        ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
        ("gzip", lambda data: gzip.compress(data) + b"\0" * 8),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("zstd", zstd),
        ("zstd", lambda data: zstd(data[:9]) + zstd(data[9:])),
        ("br", brotli),
        ("identity", bytes),
        ("", bytes),
        ("gzip, identity", gzip.compress),
        ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
        ("deflate, zstd", lambda data: zstd(zlib.compress(data))),
    ],
)
async def test_a_compressed_body_is_served(world, engine, coding, encode):
    """The engine gets what the client meant."""
    world.lanes.answers = [engine()]

    response = await post(world, encode(RAW), coding)

    assert response.status_code == 200
    assert world.lanes.opened[0].body["messages"] == HELLO["messages"]


async def test_codings_may_stand_in_two_lines(world, engine):
    """As one list, in order."""
    world.lanes.answers = [engine()]
    lines = [("content-encoding", "gzip"), ("content-encoding", "deflate")]

    async with world.client() as client:
        content = zlib.compress(gzip.compress(RAW))
        response = await client.post(CHAT, content=content, headers=lines)

    assert response.status_code == 200


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/route", "/v1/feedback"])
@pytest.mark.parametrize("coding", ["snappy", "compress", "gzip, lz4", "gzip," * 4 + "gzip", "*"])
async def test_an_unknown_coding_is_told_what_is_known(world, path, coding):
    """415 with `accept-encoding` (RFC 9110, 15.5.16), before the body is read."""
    response = await post(world, RAW, coding, path)

    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip, deflate, zstd, br"
    assert response.json()["error"]["code"] == "invalid_request"
    assert response.json()["error"]["param"] == "content-encoding"


@pytest.mark.parametrize(
    ("coding", "encode"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd), ("br", brotli)],
)
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-2],
        lambda data: data + b"more",
        lambda _: RAW,
        lambda _: b"\x00" * 40,
    ],
    ids=["half", "end cut", "more behind", "not encoded", "zeros"],
)
async def test_a_damaged_body_is_a_400_that_names_the_coding(world, coding, encode, damage):
    """Nothing of it reaches an engine."""
    response = await post(world, damage(encode(RAW)), coding)

    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_json"
    assert coding in response.json()["error"]["message"]


async def test_an_empty_body_is_not_an_encoding_s_fault(world):
    """As without the header."""
    response = await post(world, b"", "gzip")

    assert response.json()["error"]["message"] == "The request body is not valid JSON."


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("zstd", zstd),
        ("br", brotli),
        ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
        ("gzip", lambda data: gzip.compress(data[: len(data) // 2]) * 2),
    ],
)
async def test_a_bomb_is_413(world, coding, encode):
    """The bound of any body holds for what comes out, too."""
    response = await post(world, encode(b" " * 8 * MIB), coding)

    assert response.status_code == 413
    assert "65536 bytes, decoded" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("coding", "encode"), [("gzip", gzip.compress), ("deflate", raw_deflate), ("zstd", zstd)]
)
@pytest.mark.parametrize(("size", "status"), [(65_536, 400), (65_537, 413)])
async def test_the_bound_is_exact(world, coding, encode, size, status):
    """The last allowed byte is read (and is no JSON)."""
    assert (await post(world, encode(b" " * size), coding)).status_code == status


async def test_no_more_than_the_bound_is_ever_made(monkeypatch):
    """Of a bomb's gibibyte one byte more than allowed."""
    made, decompressobj = [], zlib.decompressobj

    class Watched:
        def __init__(self, form):
            self._stream = decompressobj(form)

        def decompress(self, data, most):
            out = self._stream.decompress(data, most)
            made.append(len(out))
            return out

        def __getattr__(self, name):
            return getattr(self._stream, name)

    bomb = gzip.compress(b"\0" * 64 * MIB)
    monkeypatch.setattr(encodings.zlib, "decompressobj", Watched)

    refused = await decode(bomb, ["gzip"], MIB)

    assert refused.reason == "request_too_large"
    assert made == [MIB + 1]


async def test_a_body_of_countless_empty_members_is_refused():
    """Each takes a step; a body of 4 MiB could have 200,000."""
    member = gzip.compress(b"")

    few = await decode(member * MAX_MEMBERS, ["gzip"], MIB)
    many = await decode(member * (MAX_MEMBERS + 1), ["gzip"], MIB)

    assert few == b""
    assert many.reason == "invalid_json"


async def test_it_is_decoded_beside_the_event_loop(monkeypatch):
    """Other tenants' streams go on meanwhile."""
    threads = []

    def note(raw, codings, most):
        threads.append(threading.current_thread())
        return raw

    monkeypatch.setattr(encodings, "_decode", note)

    await asyncio.gather(*(decode(b"x", ["gzip"], 9) for _ in range(3)))

    assert threading.main_thread() not in threads
    assert len(threads) == 3


async def test_the_compressed_size_is_bounded_too(world):
    """What is sent is never more than what is allowed to come out."""
    response = await post(world, b"x" * 65_537, "gzip")

    assert response.status_code == 413

"""Sockets' frames, headers that say who asks, encoded bodies and configuration files."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import gzip
import json
import re
import tempfile
import zlib
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import Rejected
from serve_app.bodies.steps import at_once
from serve_app.config.errors import ConfigError, load_yaml
from serve_app.config.fleet import CorsConfig, FleetConfig, LimitsConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.front.cors import allowed_origin, cors_headers, preflight_headers
from serve_app.protocol import encodings
from serve_app.tenancy.auth import make_key
from serve_app.tenancy.callers import caller_of, is_loopback, is_loopback_origin
from serve_app.websocket import frames
from serve_app.websocket.frames import (
    BadFrame,
    CancelFrame,
    ChatFrame,
    ResumeFrame,
    reading_frame,
)
from tests.property.mutations import FUZZED, PIECES, mangled, spoilt
from tests.valid_bodies import VALID

pytestmark = pytest.mark.security

ROOT = Path(__file__).parents[2]
FRAMES = [
    *({"id": "1", "type": "chat", "body": body} for path, body in VALID if "chat" in path),
    {"id": 7, "type": "chat", "body": {}, "session_id": "s", "request_id": "r"},
    {"id": "1", "type": "cancel", "resume": "token"},
    {"id": "1", "type": "resume", "after": 3, "resume": "token"},
]


@FUZZED
@given(
    st.sampled_from(FRAMES).flatmap(spoilt).map(lambda x: json.dumps(x).encode()).flatmap(mangled),
    st.sampled_from([1024, 100_000]),
)
def test_a_frame_is_read_or_has_an_error_that_can_be_sent(raw, most) -> None:
    """Ids go back as they came; texts are short, numbers within bounds."""
    frame = at_once(reading_frame(raw, LimitsConfig(max_body_bytes=most)))

    if isinstance(frame, BadFrame):
        sent = orjson.loads(frames.refusal(frame.id, frame.rejected))
        assert sent["type"] == "error" and len(sent["error"]["message"]) < 500
        return
    assert isinstance(frame, ChatFrame | CancelFrame | ResumeFrame) and len(raw) <= most
    assert orjson.loads(frames.done(frame.id, 0))["id"] == orjson.loads(frame.id)
    assert not isinstance(frame, ResumeFrame) or frame.after >= 0


KEY = make_key()[0]
NAMES = st.sampled_from(
    [
        *(b"authorization", b"x-api-key", b"api-key", b"sec-websocket-protocol", b"cookie"),
        *(b"proxy-authorization", b"host", b"origin", b"x-tenant-id", b"via", b"x-other"),
    ]
)
HOSTS = [
    *(b"localhost", b"127.0.0.1:8000", b"[::1]:8000", b"evil.example", b"127.0.0.1.evil.example"),
    *(b"localhost@evil.example", b"evil.example#@localhost", b"127.0.0.1, evil.example", b"[::1"),
    *(b"0x7f.1", b"2130706433", b"127.1", b"\xe2\x91\xa0.example", b"localhost\x00.evil", b""),
]
SAID = st.sampled_from(
    [
        *(KEY.encode(), b"Bearer " + KEY.encode(), b"Basic " + base64.b64encode(KEY.encode())),
        *(KEY.encode().upper(), KEY[:30].encode(), b"pm-", b"none", b"null", b"\xff\xfe"),
        *HOSTS,
        *(scheme + host for host in HOSTS for scheme in (b"http://", b"https://", b"file://")),
    ]
).flatmap(mangled)
LINES = st.lists(st.tuples(NAMES, SAID | st.binary(max_size=40)), max_size=5)
# A host or origin that is this machine's, as every browser would write it.
OWN = re.compile(
    rb"(?:[a-z][a-z0-9+.-]*://)?(?:(?:[a-z0-9_-]+\.)*localhost\.?|127\.\d+\.\d+\.\d+"
    rb"|\[(?:::1|::ffff:(?:127\.\d+\.\d+\.\d+|7f[0-9a-f]{2}:[0-9a-f]{1,4})|[0:]*:0*1)\])(?::\d{0,5})?",
    re.IGNORECASE,
)


@FUZZED
@given(LINES, st.binary(max_size=60) | SAID)
def test_who_asks_is_told_or_refused_from_any_headers(lines, target) -> None:
    """Never a fault; and a request that has our key in it never counts as one without."""
    caller = caller_of(
        {"headers": lines, "raw_path": target, "path": "/", "client": ("127.0.0.1", 1)}
    )

    assert caller.key is None or isinstance(caller.key, str | Rejected)
    if isinstance(caller.key, Rejected):
        assert KEY.split("-", 2)[2] not in caller.key.message
    # Not every spoilt one is a key of ours any more; a whole one among other text is.
    places = [value for _, value in lines] + [target]
    if any(re.search(rb"(?<![\w-])%b(?![\w-])" % KEY.encode(), place) for place in places):
        assert isinstance(caller.key, Rejected) or caller.key.lower().startswith("pm-")


@FUZZED
@given(LINES)
def test_a_host_or_origin_of_elsewhere_is_never_this_machine(lines) -> None:
    """However it is spelt: what no browser would call this machine is not."""
    caller = caller_of({"headers": lines, "path": "/", "client": ("127.0.0.1", 1)})

    named = [value for name, value in lines if name in (b"host", b"origin")]
    if not all(OWN.fullmatch(value) for value in named):
        assert caller.stranger
    for value in named:
        is_own = OWN.fullmatch(value) is not None and b"://" in value
        assert is_own or not is_loopback_origin(value)


@FUZZED
@given(SAID | st.binary(max_size=40), st.lists(SAID, max_size=3))
def test_what_a_page_is_told_is_a_header(origin, asked) -> None:
    """Nothing that a page sends can begin a second line of the answer."""
    config = CorsConfig(allow_origins=["https://a.example"])
    allowed = allowed_origin(origin, config, is_private=True)
    headers = {b"access-control-request-headers": b", ".join(asked)}
    told = [*cors_headers(allowed), *preflight_headers(headers, config)]

    assert not [value for _, value in told if re.search(rb"[\r\n\0]", value)]
    assert allowed in (None, origin)


@FUZZED
@given(st.text(max_size=30) | st.ip_addresses().map(str))
def test_an_address_is_this_machine_s_or_not(host) -> None:
    """Any text can be asked about."""
    assert is_loopback(host) in (True, False)


RAW = b'{"messages":[{"role":"user","content":"' + b"x" * 200 + b'"}]}'
ENCODED = {
    "gzip": gzip.compress(RAW, mtime=0),
    "deflate": zlib.compress(RAW),
    "zstd": bytes.fromhex("28b52ffd200a510000") + b"0123456789",
    "br": bytes.fromhex("8b0480") + b"0123456789" + b"\x03",
}


@FUZZED
@given(
    st.sampled_from([*ENCODED.items()]).flatmap(lambda x: st.tuples(st.just(x[0]), mangled(x[1])))
)
def test_a_body_is_decoded_within_its_bound_or_refused(given_body) -> None:
    """However its encoding is damaged."""
    name, raw = given_body

    found = asyncio.run(encodings.decode(raw, [name], 300))

    assert isinstance(found, Rejected) or len(found) <= 300


FILES = [
    *((path, FleetConfig) for path in (ROOT / "configs" / "fleets").glob("*.yaml")),
    (ROOT / "tests" / "e2e" / "simulated_fleet.yaml", FleetConfig),
    (ROOT / "configs" / "tenants.yaml", TenantsConfig),
]
YAML_PIECES = PIECES | st.sampled_from(
    [
        *(b"\n", b"\t", b"- ", b": ", b"? ", b"# ", b"&a ", b"*a", b"<<: *a\n", b"---\n", b"...\n"),
        *(b"!!python/object/apply:os.system [id]", b"!!python/name:os.system", b"!!binary x"),
        *(b"!!set {a, b}", b"!!timestamp 2026-02-30", b"2026-02-30", b"0o7", b"1_0", b".inf"),
        *(b"{" * 500, b"- " * 500, b"[" * 1_500, b"%YAML 9.9\n", b"\xc2\x85", b"\xe2\x80\xa8"),
        *(b"yes", b"~", b"'", b'"', b'"\\x00"', b"|\n", b">-\n", b"\x00", b"=", b"0x", b"1:30"),
        *(b"&a [*a]", b"&a {a: *a}", b"? [a]\n: b\n", b"? {a: b}\n: c\n", b"? !!null\n: x\n"),
    ]
)


@functools.cache
def text_of(path: Path) -> bytes:
    """What says something, so that edits hit it: without comments."""
    lines = path.read_text().splitlines(keepends=True)
    return "".join(x for x in lines if not x.lstrip().startswith("#")).encode()


@FUZZED
@given(st.sampled_from(FILES), st.data())
def test_a_configuration_file_is_read_or_refused_in_words(known, data) -> None:
    """A model or ConfigError, and no other error, however the file is edited."""
    path, model = known
    raw = data.draw(mangled(text_of(path), YAML_PIECES))
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        Path(file.name).write_bytes(raw)
        with contextlib.suppress(ConfigError):
            assert isinstance(load_yaml(Path(file.name), model), model)

"""No request makes an engine fetch what it names: `data:` URLs, or hosts that the lane lists."""

import json
from ipaddress import ip_address

import pytest
from pydantic import ValidationError

from serve_app.bodies.media_urls import looking_for_media
from serve_app.bodies.steps import at_once
from serve_app.config.engine_walls import NOWHERE, host_fault, is_public, media_args
from serve_app.config.lane import LaneConfig

pytestmark = pytest.mark.security


def media_fault(body, hosts):
    return at_once(looking_for_media(body, hosts))


PNG = "data:image/png;base64,iVBORw0KGgo="
EVIL = "http://169.254.169.254/latest/meta-data"
LISTED = ("media.example.com", "cdn.example.com:8443", "93.184.216.34")


def in_chat(part, role="user"):
    return {"messages": [{"role": "user", "content": "Hi"}, {"role": role, "content": [part]}]}


def in_input(part):
    return {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}, part]}]}


def in_output(part):
    return {"input": [{"type": "function_call_output", "call_id": "c", "output": [part]}]}


def in_tool_result(part):
    return in_chat({"type": "tool_result", "tool_use_id": "t", "content": [part]})


def by_url(url, kind="image"):
    return {"type": kind, "source": {"type": "url", "url": url}}


FORMS = {
    "image_url": lambda url: in_chat({"type": "image_url", "image_url": {"url": url}}),
    "image as text": lambda url: in_chat({"type": "image_url", "image_url": url}),
    "image without type": lambda url: in_chat({"image_url": url}),
    "image object without type": lambda url: in_chat({"image_url": {"url": url}}),
    "audio_url": lambda url: in_chat({"type": "audio_url", "audio_url": {"url": url}}),
    "audio without type": lambda url: in_chat({"audio_url": url}),
    "video_url": lambda url: in_chat({"type": "video_url", "video_url": {"url": url}}),
    "video without type": lambda url: in_chat({"video_url": url}),
    "input_image in chat": lambda url: in_chat({"type": "input_image", "image_url": url}),
    "hidden by another type": lambda url: in_chat({"type": "text", "text": "x", "image_url": url}),
    "a system's": lambda url: in_chat({"image_url": url}, role="system"),
    "a tool's": lambda url: in_chat({"type": "image_url", "image_url": {"url": url}}, role="tool"),
    "an assistant's": lambda url: in_chat({"image_url": url}, role="assistant"),
    "content that is a part": lambda url: {
        "messages": [{"role": "user", "content": {"image_url": url}}]
    },
    "a list in a list": lambda url: in_chat([{"image_url": url}]),
    "input_image": lambda url: in_input({"type": "input_image", "image_url": url}),
    "input_image as object": lambda url: in_input(
        {"type": "input_image", "image_url": {"url": url}}
    ),
    "image_url in input": lambda url: in_input({"type": "image_url", "image_url": {"url": url}}),
    "input_file": lambda url: in_input({"type": "input_file", "file_url": url}),
    "a function's output": lambda url: in_output({"type": "input_image", "image_url": url}),
    "image": lambda url: in_chat(by_url(url)),
    "document": lambda url: in_chat(by_url(url, "document")),
    "source of another type": lambda url: in_chat(
        {"type": "image", "source": {"type": "URL", "url": url}}
    ),
    "tool result's image": lambda url: in_tool_result(by_url(url)),
    "tool result's image_url": lambda url: in_tool_result({"image_url": {"url": url}}),
    "tool result in a tool result": lambda url: in_tool_result(
        {"type": "tool_result", "content": [by_url(url)]}
    ),
    "document of parts": lambda url: in_chat(
        {"type": "document", "source": {"type": "content", "content": [by_url(url)]}}
    ),
}

FETCHED = [
    EVIL,
    "https://example.com/cat.png",
    "HTTPS://EXAMPLE.COM/cat.png",
    "http:\\\\169.254.169.254\\x",
    "http:/169.254.169.254/x",
    "http:169.254.169.254",
    "//169.254.169.254/x",
    "/etc/passwd",
    "file:///etc/passwd",
    "FILE:/etc/passwd",
    "ftp://example.com/x",
    "gopher://127.0.0.1:6379/_x",
    "s3://bucket/key",
    "jar:data:x",
    "example.com/cat.png",
    "127.0.0.1:8000/status",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://[::1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://localhost./",
    " data:image/png;base64,AAAA",
    "\tdata:image/png;base64,AAAA",
    "\ndata:,x",
    "data",
    "data;image/png;base64,AAAA",
    "d\u0430ta:image/png;base64,AAAA",
    "data\uff1aimage/png;base64,AAAA",
    "\x00data:x",
    "",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("url", [EVIL, "file:///etc/passwd", "//10.0.0.1/x"])
def test_in_every_form_a_url_is_refused_and_its_place_named(form, url):
    body = FORMS[form](url)

    refused = media_fault(body, ())

    assert (refused.reason, refused.param) == ("invalid_request", next(iter(body)))
    assert f"'{refused.param}[" in refused.message and "url'" in refused.message
    assert "'data:' URL" in refused.message
    assert url not in refused.message


@pytest.mark.parametrize("form", FORMS)
def test_in_every_form_a_data_url_passes(form):
    assert media_fault(FORMS[form](PNG), ()) is None


@pytest.mark.parametrize("hosts", [(), LISTED], ids=["none", "some"])
@pytest.mark.parametrize("url", FETCHED)
def test_what_is_no_data_url_is_refused(url, hosts):
    assert media_fault(FORMS["image_url"](url), hosts) is not None


@pytest.mark.parametrize("url", ["DATA:image/png;base64,AAAA", "Data:,x", "data:"])
def test_the_scheme_s_case_is_nobody_s_business(url):
    """vLLM reads it so; what the rest is worth is for the engine to say."""
    assert media_fault(FORMS["image_url"](url), ()) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://media.example.com",
        "https://media.example.com/cat.png?size=5#top",
        "http://MEDIA.example.com/cat.png",
        "https://media.example.com:443/x",
        "http://media.example.com:80/x",
        "https://cdn.example.com:8443/x",
        "http://93.184.216.34/x",
    ],
)
def test_a_listed_host_is_let_through(url):
    assert media_fault(FORMS["image_url"](url), LISTED) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://media.example.com.evil.net/x",
        "https://evil.net/media.example.com",
        "https://evilmedia.example.com/x",
        "https://example.com/x",
        "https://media.example.com@evil.net/x",
        "https://media.example.com:443@evil.net/x",
        "https://user@media.example.com/x",
        "https://evil.net#@media.example.com/",
        "https://evil.net?@media.example.com/",
        "https://evil.net\\@media.example.com/",
        "https://media.example.com\\@evil.net/",
        "https://media.example.com\\.evil.net/",
        "https://media.example.com%2eevil.net/",
        "https://media.example.com%00.evil.net/",
        "https://media.example.com./x",
        "https://media.example.com:8080/x",
        "https://media.example.com:22",
        "https://media.example.com:/x",
        "https://media.example.com:99999999/x",
        "http://media.example.com:443/x",
        "https://cdn.example.com/x",
        "https://cdn.example.com:8444/x",
        "https://m\u0435dia.example.com/x",
        "https://media\u3002example.com/x",
        "https://media.example.com /x",
        "https://media.example.com\t/x",
        "https://media.example.com/\r\nHost: evil.net",
        "https:///media.example.com/x",
        "https:/media.example.com/x",
        "https:media.example.com/x",
        "https:\\\\media.example.com/x",
        "ftp://media.example.com/x",
        "file://media.example.com/x",
        "//media.example.com/x",
        "media.example.com/x",
        "https://https://media.example.com/x",
        "https://media.example.com/" + "x" * 10_000,
    ],
)
def test_no_spelling_of_another_host_passes_for_a_listed_one(url):
    refused = media_fault(FORMS["image_url"](url), LISTED)

    assert refused is not None and "no host that media come from" in refused.message


@pytest.mark.parametrize("url", [3, True, [EVIL], ["data:,x"], {"url": {"url": EVIL}}, {"url": 3}])
def test_what_is_no_text_is_refused(url):
    assert media_fault(in_chat({"type": "image_url", "image_url": url}), ()) is not None


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": f"look at {EVIL}"}]},
        in_chat({"type": "text", "text": EVIL}),
        in_chat({"type": "text", "text": "x", "source": EVIL, "url": EVIL, "uuid": "u"}),
        in_chat({"type": "tool_use", "id": "t", "name": "fetch", "input": {"image_url": EVIL}}),
        in_chat({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
        in_chat({"type": "image_url", "image_url": None}),
        {"messages": [{"role": "assistant", "content": None, "audio": {"id": "a"}, "uuid": "u"}]},
        {"messages": "x", "input": "x"},
        {"prompt": EVIL},
        {"messages": [3, None, "x"]},
        {
            "messages": [],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"url": EVIL}}}],
        },
    ],
    ids=lambda body: json.dumps(body)[:50],
)
def test_a_url_that_nobody_fetches_is_the_client_s_own(body):
    assert media_fault(body, ()) is None


@pytest.mark.parametrize("value", ["/etc/passwd", EVIL, {"a": 1}])
def test_an_object_of_python_s_is_not_taken(value):
    """The engine's libraries would open a text as a path or URL."""
    refused = media_fault(in_chat({"type": "image_pil", "image_pil": value}), LISTED)

    assert "image_pil" in refused.message


@pytest.mark.parametrize(
    "part",
    [
        {"image_url": None, "uuid": "theirs"},
        {"type": "image_url", "image_url": {"url": PNG}, "uuid": "theirs"},
        {"type": "image_embeds", "image_embeds": None, "uuid": "theirs"},
        {"type": "input_audio", "input_audio": None, "uuid": "theirs"},
    ],
)
def test_media_of_another_tenant_cannot_be_named(part):
    """The engine's cache of media knows them by `uuid`, whoever says it."""
    assert "uuid" in media_fault(in_chat(part), ()).message


@pytest.mark.parametrize("field", ["mm_processor_kwargs", "media_io_kwargs"])
@pytest.mark.parametrize(
    ("value", "passes"),
    [
        ({"num_crops": 4, "do_resize": True, "size": {"longest_edge": 5}, "mode": "RGB"}, True),
        ({"image": {"image_mode": None}, "video": {"fps": 2.0, "num_frames": [1, 2]}}, True),
        ({}, True),
        ({"proxies": {"https": "evil"}}, False),
        ({"image": {"proxies": {}}}, False),
        ({"cache_dir": "x"}, False),
        ({"trust_remote_code": True}, False),
        ({"images": EVIL}, False),
        ({"images": ["/etc/passwd"]}, False),
        ({"https://evil": 1}, False),
    ],
)
def test_arguments_of_processors_name_no_places(field, value, passes):
    refused = media_fault({"messages": [], field: value}, LISTED)

    assert (refused is None) is passes
    assert passes or refused.param == field


class Counted(str):
    """A text that tells how much of it was looked at."""

    __slots__ = ()
    seen = 0

    def __getitem__(self, key):
        part = super().__getitem__(key)
        Counted.seen += len(part)
        return part

    def lower(self):
        raise AssertionError("the whole text was read")


def test_of_a_data_url_the_beginning_is_read():
    """It is megabytes, and every stream waits meanwhile."""
    url = Counted(PNG + "A" * 4_000_000)

    assert media_fault(FORMS["image_url"](url), ()) is None
    assert Counted.seen == 5


def test_depth_is_no_recursion():
    part = {"image_url": EVIL}
    for _ in range(20_000):
        part = {"content": [part]}

    assert media_fault({"messages": [part]}, ()) is not None


ROUTED = {
    "/v1/chat/completions": FORMS["image as text"],
    "/v1/messages": FORMS["tool result's image"],
    "/v1/messages/count_tokens": FORMS["image"],
    "/v1/responses": FORMS["input_image"],
}


@pytest.mark.parametrize("path", [*ROUTED, "/v1/route"])
async def test_on_every_route_it_is_a_400_and_no_engine_is_asked(world, path):
    body = ROUTED.get(path, FORMS["image_url"])(EVIL)
    response = await world.post(path, {**body, "max_tokens": 5}, key="acme")

    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_request"
    assert "url" in response.json()["error"]["message"]
    assert world.lanes.opened == []


async def test_a_data_url_reaches_the_engine(world, engine):
    world.lanes.answers = [engine({"choices": []})]

    response = await world.post("/v1/chat/completions", FORMS["image_url"](PNG), key="acme")

    assert response.status_code == 200
    assert PNG in json.dumps(world.lanes.opened[0].body)


def lane(**fields):
    return LaneConfig.model_validate(
        {"model_id": "m", "model_source": "a/b", "max_model_len": 128, **fields}
    )


@pytest.mark.parametrize(
    "entry",
    ["media.example.com", "CDN.Example.com:8443", "93.184.216.34", "xn--mdia-9oa.example.com"],
)
def test_a_lane_lists_hosts_of_others(entry):
    assert lane(media_hosts=[entry]).media_hosts == [entry.lower()]


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "*",
        "*.example.com",
        ".example.com",
        "example.com.",
        "https://example.com",
        "example.com/x",
        "user@example.com",
        "example.com:",
        "m\u00e9dia.example.com",
        "localhost",
        "x.localhost",
        "printer.local",
        "vault.internal",
        "intranet",
        "127.0.0.1",
        "10.0.0.7",
        "192.168.1.1:80",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "[::1]",
        "::1",
    ],
)
def test_a_lane_lists_nothing_of_this_machine_or_network(entry):
    assert host_fault(entry) is not None
    with pytest.raises(ValidationError, match="media_hosts"):
        lane(media_hosts=[entry])


@pytest.mark.parametrize(
    "fields",
    [
        {"engine_args": {"allowed_local_media_path": "/"}},
        {"engine_args": {"allowed_local_media_path": ""}},
        {"engine_args": {"allowed_media_domains": ["example.com"]}},
        {"env": {"VLLM_MEDIA_URL_ALLOW_REDIRECTS": "1"}},
        {"env": {"VLLM_MEDIA_CONNECTOR": "http"}},
    ],
)
def test_a_lane_cannot_undo_its_walls(fields):
    with pytest.raises(ValidationError, match=next(iter(next(iter(fields.values()))))):
        lane(**fields)


def test_without_hosts_vllm_hears_of_one_that_no_url_has():
    """An empty list would allow all."""
    assert media_args([]) == {"allowed_media_domains": [NOWHERE]}
    assert media_args(["a.example.com", "b.example.com:8443"]) == {
        "allowed_media_domains": ["a.example.com", "b.example.com"]
    }


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.31.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::5db8:d822", True),
        ("2002:a00:1::", False),
    ],
)
def test_which_addresses_are_public(address, public):
    assert is_public(ip_address(address)) is public

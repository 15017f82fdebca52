"""W3C Trace Context: what a client's headers say, and what is sent on."""

import pytest
from opentelemetry.trace import TraceState

from serve_app.protocol.trace_context import TraceContext, read_trace_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
WHOLE = f"00-{TRACE}-{SPAN}-01"


def read(parent: str, state: bytes | None = None) -> TraceContext | None:
    headers = {b"traceparent": parent.encode()}
    if state is not None:
        headers[b"tracestate"] = state
    return read_trace_context(headers)


def test_a_clients_span_is_read_and_written_as_it_came():
    found = read(WHOLE, b"vendor=1,other=2")

    assert found == TraceContext(int(TRACE, 16), int(SPAN, 16), True, "vendor=1,other=2")
    assert found.headers == {"traceparent": WHOLE, "tracestate": "vendor=1,other=2"}
    assert found.trace == TRACE


@pytest.mark.parametrize(("flags", "is_sampled"), [("00", False), ("01", True), ("03", True)])
def test_the_lowest_flag_says_whether_it_is_sampled(flags, is_sampled):
    assert read(f"00-{TRACE}-{SPAN}-{flags}").is_sampled is is_sampled


def test_a_later_version_may_say_more():
    assert read(f"cc-{TRACE}-{SPAN}-01-more").trace_id == int(TRACE, 16)


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"{WHOLE},{WHOLE}",
    ],
)
def test_what_is_no_trace_context_names_no_span(parent):
    """The recommendation says: ignore it and begin a trace, refuse nobody."""
    assert read(parent) is None


def test_no_header_names_no_span():
    assert read_trace_context({b"tracestate": b"vendor=1"}) is None


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"x=" + b"y" * 3000,
        b"a=\xff",
        b"a=1\tb",
        b"words of a client",
        b"a=1,no member",
        b"a=1,a=2",
        b"A=1",
        b"a=",
        b"a=b=c",
        b"a=1 ,b==",
        b",".join(b"k%d=1" % n for n in range(33)),
    ],
)
def test_a_state_that_is_none_is_left_out(state):
    assert read(WHOLE, state).headers == {"traceparent": WHOLE}


@pytest.mark.parametrize(
    "state",
    [
        "a=1",
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "1tenant@vendor=x:y;z, b_-*/=~!",
        "a=1,,b=2, ",
        "a=with blanks within",
        ",".join(f"k{n}=1" for n in range(32)),
    ],
)
def test_a_state_goes_on_as_it_came(state, caplog):
    found = read(WHOLE, state.encode())

    assert found.state == state.strip()
    # So OpenTelemetry finds nothing in it to tell of: its log would quote the client.
    whole = TraceState.from_header([found.state])
    assert len(whole) == len([x for x in state.split(",") if x.strip()])
    assert not caplog.records

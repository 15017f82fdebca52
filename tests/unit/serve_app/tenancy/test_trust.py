"""Who counts as local: someone at this machine, never a web page or a proxied stranger."""

from __future__ import annotations

import pytest

from serve_app.tenancy.callers import caller_of, is_loopback

pytestmark = pytest.mark.security


def is_local(client: str = "127.0.0.1", *headers: tuple[str, str]) -> bool:
    """Whether a request with these headers can only come from this machine."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return not caller_of({"path": "/status", "headers": raw, "client": (client, 1)}).stranger


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_a_caller_on_this_machine_is_local(host: str) -> None:
    """Loopback, and a Host that names this machine."""
    assert is_local("127.0.0.1", ("host", host))


@pytest.mark.parametrize(
    ("client", "headers"),
    [
        ("203.0.113.5", [("host", "localhost")]),
        ("127.0.0.1", [("host", "evil.example:8000")]),
        ("127.0.0.1", [("host", "[bad")]),
        ("127.0.0.1", [("host", "localhost"), ("origin", "http://evil.example")]),
        ("127.0.0.1", [("host", "localhost"), ("origin", "null")]),
        ("127.0.0.1", [("host", "localhost"), ("x-forwarded-for", "203.0.113.5")]),
        (
            "127.0.0.1",
            [
                ("host", "localhost"),
                ("x-forwarded-for", "203.0.113.5"),
                ("x-forwarded-for", "127.0.0.1"),
            ],
        ),
    ],
    ids=["remote", "rebinding", "bad-host", "page", "sandboxed-page", "proxied", "two-lines"],
)
def test_anyone_else_is_not(client: str, headers: list[tuple[str, str]]) -> None:
    """Another machine, a rebound name, a page in a browser, a proxied stranger."""
    assert not is_local(client, *headers)


def test_a_page_that_is_served_from_here_is_local() -> None:
    """Our own pages may call us."""
    headers = ("host", "localhost:8000"), ("origin", "http://localhost:8000")

    assert is_local("127.0.0.1", *headers)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("app.localhost", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.1.2.3", False),
        ("localhost.example.com", False),
    ],
)
def test_a_listener_is_private_only_on_loopback(host, expected) -> None:
    """`0.0.0.0` and a network address are open doors."""
    assert is_loopback(host) is expected


def test_an_open_door_needs_keys() -> None:
    """The graph is not built when anyone could walk in."""
    from serve_app.app import AppArgs, _refuse_open_door
    from serve_app.config.errors import ConfigError

    with pytest.raises(ConfigError, match="local_tenant"):
        _refuse_open_door(AppArgs(listen="0.0.0.0"), "local")
    _refuse_open_door(AppArgs(listen="0.0.0.0"), None)
    _refuse_open_door(AppArgs(), "local")


def test_the_secret_is_made_once_and_kept(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mode 0600, whole, the same on every start; a damaged one is refused."""
    from serve_app.config.errors import ConfigError
    from serve_app.config.settings import deployment_secret

    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path))

    first = deployment_secret()

    assert len(first) >= 32
    assert deployment_secret() == first
    assert (tmp_path / "endpoint-secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["endpoint-secret"]
    (tmp_path / "endpoint-secret").write_text("")
    with pytest.raises(ConfigError, match="damaged"):
        deployment_secret()

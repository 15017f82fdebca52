import os
import socket

import pytest

from serve_app.machine import port_owner
from serve_app.machine.port_owner import is_trusted, listeners, owner_of

pytestmark = pytest.mark.security

HEAD = (
    "  sl  local_address rem_address  st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode\n"
)
V4_LOOPBACK, V4_ANY = "0100007F", "00000000"
V6_LOOPBACK, V6_ANY = "0" * 24 + "01000000", "0" * 32
MAPPED_LOOPBACK = "0000000000000000FFFF00000100007F"


def row(host: str, port: int, uid: int, state: str = "0A") -> str:
    peer = "0" * len(host) + ":0000"
    return f" 0: {host}:{port:04X} {peer} {state} 0:0 00:0 0 {uid} 0 77\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes a machine in which these sockets are open."""

    def make(*rows: str) -> None:
        for name, digits in (("tcp", 8), ("tcp6", 32)):
            of_family = [x for x in rows if len(x.split()[1].split(":")[0]) == digits]
            (tmp_path / name).write_text(HEAD + "".join(of_family))
        monkeypatch.setattr(port_owner, "listeners", lambda: listeners(tmp_path))

    return make


def test_a_socket_of_ours_is_found_with_its_address_and_inode():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        [found] = [x for x in listeners() if x.port == port]
        assert (str(found.host), found.uid) == ("127.0.0.1", os.geteuid())
        assert found.inode == os.fstat(server.fileno()).st_ino
        assert owner_of(port) == os.geteuid()
        assert is_trusted(port)
    assert owner_of(port) is None
    assert not is_trusted(port)


@pytest.mark.parametrize("host", [V4_LOOPBACK, V4_ANY, V6_ANY, MAPPED_LOOPBACK])
def test_another_users_socket_is_his_and_not_trusted(machine, host):
    stranger = os.geteuid() + 4242
    machine(row(host, 8265, stranger))
    assert owner_of(8265) == stranger
    assert not is_trusted(8265)
    assert owner_of(8266) is None


def test_root_is_trusted_and_a_connection_is_no_listener(machine):
    machine(row(V4_LOOPBACK, 8265, 0), row(V4_LOOPBACK, 8265, 4242, state="01"))
    assert owner_of(8265) == 0
    assert is_trusted(8265)


def test_a_name_may_mean_either_loopback_and_an_address_means_its_own(machine):
    mine, stranger = os.geteuid(), os.geteuid() + 4242
    machine(row(V4_LOOPBACK, 8000, mine), row(V6_LOOPBACK, 8000, stranger))
    assert owner_of(8000, "127.0.0.1") == mine
    assert owner_of(8000, "::1") == stranger
    assert owner_of(8000, "localhost") is None
    assert not is_trusted(8000, "localhost")


def test_two_users_on_one_port_are_nobody_to_trust(machine):
    machine(row(V4_ANY, 8000, os.geteuid()), row(V4_LOOPBACK, 8000, os.geteuid() + 4242))
    assert not is_trusted(8000)


def test_a_machine_without_ipv6_is_read_too(tmp_path):
    (tmp_path / "tcp").write_text(HEAD + row(V4_LOOPBACK, 80, 7))
    assert [x.uid for x in listeners(tmp_path)] == [7]

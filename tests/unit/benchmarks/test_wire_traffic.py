"""What `ss -tinpH` prints becomes bytes between kinds of processes."""

from benchmarks.support.wire_traffic import by_pair, parse

ROLES = {1: "ingress", 2: "ledger", 3: "lane"}


def socket(pid, local, remote, sent, segments):
    """Two lines as ss prints them."""
    return (
        f'ESTAB 0 0 {local} {remote} users:(("ray::ServeRepli",pid={pid},fd=6))\n'
        f"\t cubic bytes_sent:{sent} bytes_acked:{sent} bytes_received:1 segs_out:9 "
        f"data_segs_out:{segments}\n"
    )


def told(*sockets):
    return parse("".join(socket(*one) for one in sockets), lambda pid: ROLES[pid])


def test_bytes_are_what_was_sent_since_by_whom_to_whom():
    """Both ends of a connection are named, also where one has an IPv4 address in IPv6's form."""
    here, there = "127.0.0.1:50", "[::ffff:127.0.0.1]:60"
    before = told((1, here, "127.0.0.1:60", 100, 2), (2, there, "[::ffff:127.0.0.1]:50", 10, 1))
    after = told((1, here, "127.0.0.1:60", 150, 4), (2, there, "[::ffff:127.0.0.1]:50", 10, 1))

    assert by_pair(before, after) == {("ingress", "ledger"): (50, 2), ("ledger", "ingress"): (0, 0)}


def test_new_connections_count_whole_and_ports_can_be_left_out():
    """A port that another connection has taken since is new, too; tokens' ports are left out."""
    before = told((1, "h:50", "h:60", 900, 9), (2, "h:60", "h:50", 0, 0))
    after = told(
        (1, "h:50", "h:60", 30, 1),
        (2, "h:60", "h:50", 0, 0),
        (1, "h:51", "h:61", 7, 1),
        (3, "h:61", "h:51", 5000, 90),
    )

    found = by_pair(before, after, without_ports=[61])

    assert found == {("ingress", "ledger"): (30, 1), ("ledger", "ingress"): (0, 0)}


def test_a_socket_whose_other_end_is_elsewhere_is_left_out():
    """Clients of other machines are no state between replicas."""
    assert told((1, "h:50", "far:60", 10, 1)) == []

"""Places of requests that wait for a lane, and a tenant's share of them."""

from router.swap.waiting_room import WaitingRoom


def entered(room, tenant, tries=100):
    return sum(room.try_enter(tenant) for _ in range(tries))


def test_one_tenant_alone_has_half_and_others_find_room():
    room = WaitingRoom(12)
    assert entered(room, "batch") == 6
    assert entered(room, "second") == 3
    assert entered(room, "third") == 2
    assert room.waiting == 11
    assert entered(room, "last") == 1
    assert entered(room, "nobody") == 0


def test_a_place_that_is_left_is_there_for_others():
    room = WaitingRoom(4)
    assert entered(room, "a") == 2
    room.leave("a")
    assert entered(room, "b") == 2
    assert not room.try_enter("a")
    room.leave("b")
    room.leave("b")
    room.leave("a")
    assert room.waiting == 0
    assert entered(room, "a") == 2


def test_a_single_place_is_whoever_comes_first():
    room = WaitingRoom(1)
    assert room.try_enter("a")
    assert not room.try_enter("b")

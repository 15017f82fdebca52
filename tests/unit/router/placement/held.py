"""What a record of hot prefixes holds, as it is asked for."""

from router.placement.hot_prefixes import HotPrefixes


def check_bounds(hot: HotPrefixes, capacity: int, max_bytes: int, *lanes: str) -> None:
    """The bytes are those of the prefixes of these lanes, which are all, and in bounds."""
    held = [hot.hottest(lane, capacity + 1, now=0.0) for lane in lanes]
    assert all(len(found) <= capacity for found in held)
    assert hot.held_bytes == sum(len(one.prefix) for found in held for one in found) <= max_bytes

"""How many replicas of a lane the cluster has room for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import ray

logger = logging.getLogger("ray.serve")

EVERY_S = 5.0

Nodes = Sequence[Mapping[str, float]]
"""Of each node, the resources that are free."""


def free_of_nodes() -> Nodes:
    """Ask Ray's control plane, which takes a few milliseconds."""
    return list(ray._private.state.available_resources_per_node().values())  # noqa: SLF001


class FreeCards:
    """Counts the replicas that fit into what is free, when one is wanted.

    Args:
        bundles: what one replica takes; all of them are on one node (`STRICT_PACK`).
        ask: returns what is free.

    """

    def __init__(
        self, bundles: Sequence[Mapping[str, float]], ask: Callable[[], Nodes] = free_of_nodes
    ) -> None:
        self._ask = ask
        self._next = float("-inf")
        self._known: int | None = None
        self._needed: dict[str, float] = {}
        for bundle in bundles:
            for name, amount in bundle.items():
                self._needed[name] = self._needed.get(name, 0.0) + amount

    def replicas(self, now: float) -> int | None:
        """Return them, up to `EVERY_S` old; None: nobody can say, and nothing should wait."""
        if now >= self._next:
            self._next = now + EVERY_S
            try:
                self._known = sum(map(self._fitting, self._ask()))
            except Exception:
                logger.exception("Ray does not say which resources are free")
                self._known = None
        return self._known

    def _fitting(self, node: Mapping[str, float]) -> int:
        shares = (int(node.get(x, 0.0) / y + 1e-6) for x, y in self._needed.items() if y)
        return min(shares, default=0)

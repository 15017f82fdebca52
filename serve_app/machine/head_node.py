"""The head node of a cluster, which has the state: what must be there, and work for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import ray

HEAD_NODE = "node:__internal_head__"
"""A resource that Ray gives its head node, and no other."""

BESIDE_THE_STATE = {HEAD_NODE: 0.001}
"""Ray resources of what runs on the head, however many there are of it."""

WITHIN_S = 60.0

T = TypeVar("T")


def on_head(work: Callable[[], T]) -> T:
    """Call a function on the head node, and return what it returns.

    Serve builds an application on whatever node has time for it. Raises what the function
    raises, and Ray's GetTimeoutError.
    """
    if not ray.is_initialized() or sum(bool(node["Alive"]) for node in ray.nodes()) < 2:
        return work()
    task: Any = ray.remote(num_cpus=0, resources=BESIDE_THE_STATE)(work)
    found: T = ray.get(task.remote(), timeout=WITHIN_S)
    return found

"""What the lanes of a fleet can do, as their roles in `routing:` need it."""

from __future__ import annotations

from collections.abc import Mapping

from router.types import Task
from serve_app.config.lane import LaneConfig
from serve_app.config.routing import RoutingConfig

_NEEDS = {"embeddings": Task.EMBED, "rerank": Task.SCORE}


def unsuited(role: str, lane: LaneConfig) -> str | None:
    """Say why a lane cannot have a role, if so."""
    needed = _NEEDS.get(role, Task.GENERATE)
    if needed not in lane.tasks:
        words = "generates no text" if needed is Task.GENERATE else f"has task: {lane.task}"
        return f"{words}; the role is for lanes of task: {needed.value}"
    if role == "vision" and not known_to_see(lane):
        return "reads no images as far as is known: say 'sees: true' of it if it does"
    return None


def sight(lanes: Mapping[str, LaneConfig]) -> dict[str, bool]:
    """Return which lanes get images.

    A lane that says nothing gets them only where no lane is known to see: its engine then
    takes them or refuses them in its own words.
    """
    are_known = any(map(known_to_see, lanes.values()))
    return {
        name: lane.generates and (known_to_see(lane) or (lane.sees is None and not are_known))
        for name, lane in lanes.items()
    }


def pooling_lanes(
    embeddings: str | None, rerank: str | None, lanes: Mapping[str, LaneConfig]
) -> dict[Task, str]:
    """Return the lanes of the tasks that generate nothing: the file's, else the first of each."""
    chosen = {Task.EMBED: (embeddings, ("embed",)), Task.SCORE: (rerank, ("score", "embed"))}
    found = {}
    for task, (named, kinds) in chosen.items():
        own = [named] if named is not None else []
        own += [name for kind in kinds for name, lane in lanes.items() if lane.task == kind]
        running = next((name for name in own if name in lanes), None)
        if running is not None:
            found[task] = running
    return found


def cascade_fault(routing: RoutingConfig, lanes: Mapping[str, LaneConfig]) -> str | None:
    """Say why nothing could move between these lanes, where that is asked for."""
    cascade = routing.cascade
    if cascade is None:
        return None
    if routing.complex is None or not routing.escalation_share:
        return "needs routing.complex, and an escalation_share over 0: moves are paid from it"
    if routing.complex == routing.default:
        return f"lane '{routing.default}' is default and complex: there is nowhere to move to"
    if cascade.band <= routing.escalation_share:
        return (
            f"band: {cascade.band:g} of the scored requests lie in it or over it, and "
            f"{routing.escalation_share:g} of them go up at once: nobody would be held"
        )
    if not lanes[routing.default].tells_logprobs:
        return (
            f"lane '{routing.default}' tells no log-probabilities (engine_args logprobs_mode): "
            "nothing is known of its answers"
        )
    return None


def known_to_see(lane: LaneConfig) -> bool:
    """Whether it says that it reads images, or fetches them."""
    return bool(lane.media_hosts) if lane.sees is None else lane.sees

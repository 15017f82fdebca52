"""Serve's request router for lanes: a thin shell around `router.replica`."""

from __future__ import annotations

from dataclasses import dataclass

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from router.replica import rank_replicas


@dataclass(frozen=True, slots=True)
class ReplicaHint:
    """What the ingress passes along with a choice.

    Attributes:
        session_key: the session's key, tenant included.
        avoid: ids of replicas that failed this request already.
    """

    session_key: str
    avoid: frozenset[str] = frozenset()


class SessionRouter(RequestRouter):
    """Sends each session to the replica that rendezvous hashing gives it."""

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """One replica per rank, most preferred first."""
        hint = _hint(pending_request)
        if hint is None:
            return [candidate_replicas]
        by_id = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        return [[by_id[r]] for r in rank_replicas(hint.session_key, list(by_id), hint.avoid)]


def _hint(pending_request: PendingRequest | None) -> ReplicaHint | None:
    if pending_request is None:
        return None
    return next((arg for arg in pending_request.args if isinstance(arg, ReplicaHint)), None)

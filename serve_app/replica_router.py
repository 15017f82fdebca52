"""Serve's request router for lanes: a thin shell around `router.replica`.

The ingress passes `session_key` and `avoid` as keyword arguments of
`choose_replica`. Plain values, because Serve ships this class by value: a type
of this module would not be the same type on the two sides.
"""

from __future__ import annotations

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from router.replica import rank_replicas


class SessionRouter(RequestRouter):
    """Sends each session to the replica that rendezvous hashing gives it."""

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """One replica per rank, most preferred first."""
        wishes = pending_request.kwargs if pending_request is not None else {}
        if "session_key" not in wishes:
            return [candidate_replicas]
        by_id = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        avoid = wishes.get("avoid", frozenset())
        return [[by_id[r]] for r in rank_replicas(wishes["session_key"], list(by_id), avoid)]

"""Serve's request router for lanes: a thin shell around the ingress's own policy.

The ingress passes `order` as a keyword argument of `choose_replica`: a function from
what each live replica published last to their ids, most preferred first. The policy and
its state stay with the ingress that way. Serve ships this class by value, so a type of
this module would not be the same type on the two sides; what crosses is plain values.
"""

from __future__ import annotations

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica


class SessionRouter(RequestRouter):
    """Lets the ingress order the replicas for each request."""

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """One replica per rank, most preferred first."""
        wishes = pending_request.kwargs if pending_request is not None else {}
        if "order" not in wishes:
            return [candidate_replicas]
        by_id = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        stats = {name: replica.routing_stats for name, replica in by_id.items()}
        return [[by_id[name]] for name in wishes["order"](stats)]

"""Serve's request router for lanes: a thin shell around the ingress's own policy.

The ingress passes `rank_by` as a keyword argument of `choose_replica`: a function from
what each live replica published last to their ids, most preferred first. The policy and
its state stay with the ingress that way. Serve ships this class by value, so a type of
this module would not be the same type on the two sides; what crosses is plain values and
Serve's own types.

`on_ranker` is called with a function that ranks the live replicas of the moment by a `rank_by`.
While there are some, whoever was given it needs no `choose_replica`, which costs ten times
as much.
"""

from __future__ import annotations

from collections.abc import Callable

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica


class SessionRouter(RequestRouter):
    """Lets the ingress order the replicas for each request."""

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        wishes = pending_request.kwargs if pending_request is not None else {}
        if "rank_by" not in wishes:
            return [candidate_replicas]
        if "on_ranker" in wishes:
            wishes["on_ranker"](self.rank)
        return [[replica] for replica in self._rank(candidate_replicas, wishes["rank_by"])]

    def rank(self, rank_by: Callable[..., list[str]]) -> list[RunningReplica]:
        """The replicas that Serve lists now, most preferred first; none where it lists none."""
        # A copy: Serve may change its list on another thread.
        replicas = list(self.curr_replicas.values())
        return self._rank(replicas, rank_by) if replicas else []

    def _rank(
        self, replicas: list[RunningReplica], rank_by: Callable[..., list[str]]
    ) -> list[RunningReplica]:
        by_id = {replica.replica_id.unique_id: replica for replica in replicas}
        stats = {name: replica.routing_stats for name, replica in by_id.items()}
        return [by_id[name] for name in rank_by(stats)]

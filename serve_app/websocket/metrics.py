"""What is counted of sockets and their chats."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class SocketMetrics:
    """Metric objects of `/v1/chat/ws` in one ingress replica's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sockets = Gauge("pointsman_websockets", "Open sockets.", registry=registry)
        self.chats = Gauge(
            "pointsman_websocket_chats", "Chats of sockets that generate.", registry=registry
        )
        self.resumes = Counter(
            "pointsman_websocket_resumes_total",
            "Chats taken up again, by where they were: local, relayed, or refused.",
            ["outcome"],
            registry=registry,
        )
        self.abandoned = Counter(
            "pointsman_websocket_chats_abandoned_total",
            "Chats aborted because nobody resumed them in time.",
            registry=registry,
        )

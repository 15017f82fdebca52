"""The `tracing:` block of the fleet file: where spans are sent (docs/tracing.md)."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from serve_app.config.errors import StrictModel

_ENDPOINT = re.compile(
    r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?(/[^\s?#@]*)?", re.IGNORECASE
)
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")

HeaderName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=128)]


class TracingConfig(StrictModel):
    """Spans of tasks, turns, LLM calls and tool calls, sent to a collector by OTLP.

    Attributes:
        endpoint: of the collector, as `http://host:4318` (http) or `http://host:4317` (grpc);
            of http, `/v1/traces` is added where there is no path. None: as OpenTelemetry's
            own variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`), else this machine's.
        sample_ratio: share of traces that are kept. It is decided by the trace id, so that
            every ingress replica, and whoever samples by it too, keeps the same ones.
        headers: sent with each export, by the name of the environment variable of the
            ingress replicas that has the value: `{authorization: COLLECTOR_TOKEN}`.
        idle_s: a task without a request for this long has ended, and with it its turns.
        result_s: the same while a turn of it waits for the results of tool calls, which may
            take long at the client.
        queue: spans of one ingress replica that wait to be sent; more are dropped and counted.
        timeout_s: of one export, and of the last one when an ingress replica ends.

    """

    endpoint: str | None = None
    protocol: Literal["http", "grpc"] = "http"
    sample_ratio: float = Field(1.0, ge=0, le=1)
    headers: dict[HeaderName, str] = Field(default_factory=dict, max_length=16)
    idle_s: float = Field(120, ge=1, le=3600)
    result_s: float = Field(1800, ge=1, le=86_400)
    queue: int = Field(4096, ge=64, le=65_536)
    timeout_s: float = Field(5, ge=0.1, le=60)

    @field_validator("headers")
    @classmethod
    def _name_variables(cls, value: dict[str, str]) -> dict[str, str]:
        for name, variable in value.items():
            if not _VARIABLE.fullmatch(variable):
                raise ValueError(
                    f"of '{name}' should be the name of an environment variable, in capitals: the "
                    "value itself does not belong into this file"
                )
        return value

    @model_validator(mode="after")
    def _endpoint_is_an_address(self) -> Self:
        # Of the whole block: a fault of the field would quote it, and a URL may hold a password.
        if self.endpoint is not None and not _ENDPOINT.fullmatch(self.endpoint):
            raise ValueError(
                "'endpoint' should be http://host:port or https://host:port, with a path at most; "
                "a key goes into an environment variable that 'headers' names"
            )
        return self

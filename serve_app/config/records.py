"""What is kept: the tenancy store, responses, feedback, the request log, and traces."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from serve_app.config.errors import StrictModel
from serve_app.config.summaries import SummaryStoreConfig

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class PostgresConfig(StrictModel):
    """A Postgres server that keeps keys, revocations and usage for several nodes.

    The password never stands in this file: it may be in a repository.

    Attributes:
        host: a name or an address, or the directory of the server's socket (begins with `/`).
        database: has to exist; the tables are made in it, in the schema `pointsman`.
        password_file: its only line is the password; on every node. None: the server asks for
            none (peer authentication, a client certificate before it).
        tls: None: unless the host is a socket or this machine. The server's certificate is
            checked, and so is its name.
        ca_file: who signs that certificate; None: whom this machine trusts.

    """

    host: str = Field(min_length=1)
    port: int = Field(5432, ge=1, le=65_535)
    database: str = Field("pointsman", min_length=1)
    user: str = Field("pointsman", min_length=1)
    password_file: str | None = None
    tls: bool | None = None
    ca_file: str | None = None

    @property
    def is_socket(self) -> bool:
        return self.host.startswith("/")

    @property
    def uses_tls(self) -> bool:
        if self.tls is not None:
            return self.tls
        return not self.is_socket and self.host not in _THIS_MACHINE

    @property
    def place(self) -> str:
        """Which database it is, for messages."""
        return f"postgres://{self.user}@{self.host}:{self.port}/{self.database}"

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> Self:
        if "@" in self.host or "://" in self.host:
            raise ValueError("host: a name, an address or a directory, not a URL")
        if self.password_file is not None and not self.uses_tls and not self._is_near:
            raise ValueError(
                "tls: a password would cross the network readable; leave `tls` out, or false "
                "with a host of this machine alone"
            )
        return self

    @property
    def _is_near(self) -> bool:
        return self.is_socket or self.host in _THIS_MACHINE


class StoreConfig(StrictModel):
    """Where keys made by the command, revocations and usage are kept (docs/tenancy.md).

    Attributes:
        path: a file, absolute or under the state directory; on a local file system. The usage
            logs and stored responses of each node are beside it, whatever keeps the rest.
        postgres: a server that keeps them instead of the file, for several nodes.
        keep_days: how long usage by day is kept. Longer than two months, for the
            month's quota.
        summaries: of long tool results and old turns (docs/agents.md).

    """

    path: str = Field("tenancy.db", min_length=1)
    postgres: PostgresConfig | None = None
    keep_days: int = Field(400, ge=62)
    summaries: SummaryStoreConfig = SummaryStoreConfig()


class ResponsesConfig(StrictModel):
    """What is kept of each tenant's answers on `/v1/responses` (docs/responses.md).

    Attributes:
        keep_days: how long a response is kept after it was stored, or after the last response
            that continues it was.
        max_responses: of a tenant. Over it the ones that were used longest ago are deleted.
        max_bytes: of a tenant's inputs and answers together; the same.
        store_by_default: whether a request that does not say `store` is stored, as OpenAI
            does it.

    """

    keep_days: float = Field(30, gt=0, le=3650)
    max_responses: int = Field(10_000, ge=1)
    max_bytes: int = Field(256 * 1024 * 1024, ge=4096)
    store_by_default: bool = True


class FeedbackConfig(StrictModel):
    """What is kept for `POST /v1/feedback`, in feedback.db of the state directory.

    Attributes:
        request_ttl_days: how long a request can be given feedback.
        max_requests: only the newest so many requests are kept.
        keep_days: how long feedback is kept.
        max_feedback: only the newest so many are kept.

    """

    request_ttl_days: float = Field(7, gt=0)
    max_requests: int = Field(200_000, ge=1)
    keep_days: float = Field(365, gt=0)
    max_feedback: int = Field(1_000_000, ge=1)


class RequestLogConfig(StrictModel):
    """One JSON line a finished request; never its prompt.

    Attributes:
        path: a directory, absolute or under the state directory; None: no log.
        max_bytes: size at which an ingress replica begins a new file.
        keep: full files that an ingress replica keeps beside the one it writes.
        keep_days: when files that are not written any more are deleted.

    """

    path: str | None = Field(None, min_length=1)
    max_bytes: int = Field(64 * 1024 * 1024, ge=4096)
    keep: int = Field(4, ge=0)
    keep_days: float = Field(30, gt=0)


class TracesConfig(StrictModel):
    """Whole requests of tenants that have `keep_traces_days`, redacted (docs/evals.md).

    Attributes:
        path: a directory, absolute or under the state directory; each node has its own.
        max_bytes: of all its files; over it the oldest days' go.
        flush_s: a file is written after so long: what a killed ingress replica loses at most.
        max_body_bytes: the body of a longer request is left out of its trace.
        max_answer_bytes: of an answer as its client got it, some 220 a token of a stream; a
            longer one is left out.
        redact: a function `module:name`, str to str, applied to each text after the patterns
            that are shipped; a trace for which it fails is dropped and counted.

    """

    path: str = Field("traces", min_length=1)
    max_bytes: int = Field(4 * 1024**3, ge=1024 * 1024)
    flush_s: float = Field(30, ge=0.1, le=3600)
    max_body_bytes: int = Field(128 * 1024, ge=1024)
    max_answer_bytes: int = Field(1024 * 1024, ge=1024)
    redact: str | None = Field(None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")

"""What is kept: the tenancy store, feedback, and the request log."""

from __future__ import annotations

from pydantic import Field

from serve_app.config.errors import StrictModel
from serve_app.config.summaries import SummaryStoreConfig


class StoreConfig(StrictModel):
    """Where keys made by the command, revocations and usage are kept (docs/tenancy.md).

    Attributes:
        path: a file, absolute or under the state directory; on a local file system.
        keep_days: how long usage by day is kept. Longer than two months, for the
            month's quota.
        summaries: of long tool results and old turns (docs/agents.md).

    """

    path: str = Field("tenancy.db", min_length=1)
    keep_days: int = Field(400, ge=62)
    summaries: SummaryStoreConfig = SummaryStoreConfig()


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

"""The columns of a file of traces.

Apart from `Trace`, since an ingress replica that keeps none does without pyarrow (45 MiB).
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA = pa.schema(
    [
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in ("request_id", "tenant", "tier")),
        *(pa.field(name, pa.string()) for name in ("session", "task", "api", "body", "answer")),
        *(pa.field(name, pa.string()) for name in ("tool_calls", "finish_reason")),
        *(pa.field(name, pa.string()) for name in ("lane", "model", "reason")),
        *(pa.field(name, pa.float64()) for name in ("score", "threshold")),
        pa.field("classifier", pa.string()),
        pa.field("propensity", pa.float64()),
        *(pa.field(name, pa.string()) for name in ("features", "policy_version")),
        *(pa.field(name, pa.string()) for name in ("experiment", "arm", "signals", "code")),
        *(pa.field(f"{name}_tokens", pa.int64()) for name in ("prompt", "completion", "cached")),
        *(pa.field(name, pa.float64()) for name in ("ttft_s", "duration_s")),
        *(pa.field(name, pa.string()) for name in ("stages", "verdicts")),
        pa.field("redactions", pa.int32()),
    ]
)

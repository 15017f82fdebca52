"""Every real engine is replaced under open streams.

What comes next runs while it goes on; `test_real_engine_loss.py` waits for its end.
"""

from __future__ import annotations

import pytest

from tests.e2e.replicas import Redeploy

pytestmark = pytest.mark.busy


def test_a_redeploy_lets_open_streams_end(redeployed: Redeploy) -> None:
    """Each of six gets all of its tokens."""
    assert [usage["completion_tokens"] for usage in redeployed.usages] == [300] * 6

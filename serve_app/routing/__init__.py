"""Which lane: policies, their reload, escalation and the history budget."""

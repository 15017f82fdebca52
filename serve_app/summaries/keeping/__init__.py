"""Where summaries are kept: in memory, and in a file that ingress replicas share."""

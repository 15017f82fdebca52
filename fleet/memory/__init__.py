"""What a model takes of a card: weights, KV cache, and how many sessions are left room for."""

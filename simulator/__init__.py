"""A simulated LLM engine: a pure model in virtual time, and a thin HTTP server.

Nothing it says comes from a model, and everything it serves says `simulated`.
"""

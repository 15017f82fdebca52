"""Whether routing is right: traces of real requests, replays, experiments, estimates.

Imports `router` and `classifier`, and neither Ray nor vLLM.
"""

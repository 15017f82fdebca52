"""How each route writes a scripted answer: as the pinned vLLM does, with what is odd about it."""

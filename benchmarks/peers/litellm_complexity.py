"""LiteLLM's heuristic complexity router, from its own package: texts in, scores out.

Runs in the peers' environment: JSON lines with `text` on standard input, one JSON line
with `score` and `seconds` each on standard output.
"""

import json
import sys
import time
from unittest.mock import MagicMock

from litellm.router_strategy.complexity_router.complexity_router import ComplexityRouter


def main() -> None:
    router = ComplexityRouter("auto", MagicMock(), {"default_model": "small"})
    for line in sys.stdin:
        text = json.loads(line)["text"]
        begun = time.perf_counter()
        _, score, _ = router.classify(text)
        print(json.dumps({"score": score, "seconds": time.perf_counter() - begun}))


if __name__ == "__main__":
    main()

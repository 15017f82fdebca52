"""Tool calls, tool results and tools in the bodies of three dialects."""

"""What the installed vLLM's tool parsers make of a hundred raw outputs each (docs/agents.md)."""

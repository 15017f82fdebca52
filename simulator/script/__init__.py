"""What a simulated engine says where a script tells it: text, reasoning and tool calls."""

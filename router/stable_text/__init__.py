"""The part of a system prompt that stays the same over turns."""

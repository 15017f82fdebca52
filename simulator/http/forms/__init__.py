"""How each route writes an answer, whole and event by event."""

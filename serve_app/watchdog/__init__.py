"""Signs of life, and the end of what gives none."""

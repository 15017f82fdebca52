"""`pointsman label`: what an engine or people say of queries' complexity."""

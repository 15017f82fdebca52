"""Whether a lane fits its card, reckoned before anything is downloaded."""

"""Lanes that share cards, in virtual time: the arbiter of `router.swap`, gates, what swaps cost."""

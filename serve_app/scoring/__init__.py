"""A contextual classifier in a deployment of its own, asked where its score may change the lane."""

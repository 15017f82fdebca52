"""Lanes that share cards: which are awake, and which gives way to whom (docs/swap.md).

A pool has so many cards and more lanes than fit on them. `pool` decides for one pool from
what waits and runs in each lane; `arbiter` brings together what several ingress replicas say
of that, and what they are told.
"""

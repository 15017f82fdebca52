"""From a workload and cards at hand to a fleet: sessions a card, what binds, the bill."""

"""What other thresholds, budgets and classifiers would bring, from explored requests."""

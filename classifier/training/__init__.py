"""Offline: training, evaluation and labels. Serving imports nothing from here."""

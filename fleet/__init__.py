"""What to buy and how many to run: memory of models on cards, plans, fleets in virtual time."""

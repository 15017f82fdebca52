"""HTTP in: requests of clients, and operators' routes."""

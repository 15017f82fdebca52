"""What a simulated fleet is asked: sessions drawn at random, recorded requests, scenarios."""

"""The formulas of a plan: sessions at once, load of a replica, walls, engines, money."""

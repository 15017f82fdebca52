"""Who a request belongs to and what it used, in a store that outlives every process."""

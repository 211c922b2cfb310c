"""What locust runs: callers and the shape of their number. Only here is locust imported; it has its own environment."""

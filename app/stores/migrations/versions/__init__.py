"""The migrations, in the order that each one names."""

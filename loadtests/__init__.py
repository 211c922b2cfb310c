"""Load: a generator, the comparison with other gateways, the soak, and where a gateway's microseconds go."""

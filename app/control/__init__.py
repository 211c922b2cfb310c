"""What changes the routing table over time; it never sees a request."""

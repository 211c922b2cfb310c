"""Upstreams: the transport that opens their sockets, and one pure dialect per provider."""

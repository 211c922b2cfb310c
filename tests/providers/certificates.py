"""Certificates of a test's own authority."""

from __future__ import annotations

import ssl
from functools import cache

import trustme


@cache
def authority() -> trustme.CA:
    """An authority that only tests trust."""
    return trustme.CA()


def server_tls(*names: str, alpn: tuple[str, ...] = (), ca: trustme.CA | None = None) -> ssl.SSLContext:
    """For a server that is known by these names."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    (ca or authority()).issue_cert(*names).configure_cert(context)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def client_tls() -> ssl.SSLContext:
    """For a client that trusts the tests' authority as well as the system's."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context
